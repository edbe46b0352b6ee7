using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// The password of an IoT Hub connection. Format and double encoding as in Microsoft's device SDK
/// (SharedAccessSignatureBuilder.cs, ModuleAuthenticationWithSakRefresh.cs).
/// </summary>
/// <param name="Text">The whole token, as sent.</param>
/// <param name="ExpiresAt">When the hub stops accepting it.</param>
internal sealed record SasToken(string Text, DateTimeOffset ExpiresAt)
{
    /// <summary>The audience of the token: host and ids, with each id encoded and then the whole encoded again.
    /// </summary>
    public static string Audience(EdgeIdentity identity)
    {
        var resource = $"{identity.HubHostName}/devices/{WebUtility.UrlEncode(identity.DeviceId)}";
        if (identity.ModuleId is { } moduleId) resource += $"/modules/{WebUtility.UrlEncode(moduleId)}";
        return WebUtility.UrlEncode(resource);
    }

    /// <summary>Makes a token for <paramref name="audience"/>.</summary>
    /// <param name="audience">From <see cref="Audience"/>: the signature is over the encoded form.</param>
    /// <param name="expiresAt">When the token expires; truncated to seconds.</param>
    /// <param name="sign">HMAC-SHA256 with the key of the identity, locally or by the workload API.</param>
    /// <param name="cancellationToken">Cancels <paramref name="sign"/>.</param>
    public static async Task<SasToken> CreateAsync(
        string audience,
        DateTimeOffset expiresAt,
        Func<byte[], CancellationToken, Task<byte[]>> sign,
        CancellationToken cancellationToken)
    {
        var expiry = expiresAt.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        var signature = await sign(Encoding.UTF8.GetBytes($"{audience}\n{expiry}"), cancellationToken);
        var encoded = WebUtility.UrlEncode(Convert.ToBase64String(signature));
        return new($"SharedAccessSignature sr={audience}&sig={encoded}&se={expiry}", expiresAt);
    }

    /// <summary>A signer for a key in memory.</summary>
    public static Func<byte[], CancellationToken, Task<byte[]>> SignWith(ReadOnlyMemory<byte> key) =>
        (data, _) => Task.FromResult(HMACSHA256.HashData(key.Span, data));

    // A record's own ToString would print the token.
    public override string ToString() => $"SAS token until {ExpiresAt:O}";
}
