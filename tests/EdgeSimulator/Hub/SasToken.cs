using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;

namespace EdgeSimulator.Hub;

/// <summary>Signs and verifies shared access signatures, as edgeHub's DeviceScopeTokenAuthenticator does.</summary>
internal static class SasToken
{
    /// <summary>Time after its expiry for which a token is still accepted (Edge.Util SharedAccessSignature).</summary>
    public static readonly TimeSpan ClockSkew = TimeSpan.FromMinutes(5);

    const string Prefix = "SharedAccessSignature ";

    /// <summary>The Base64 HMAC-SHA256 of <paramref name="data"/>: audience, line feed, expiry.</summary>
    public static string Sign(byte[] key, ReadOnlySpan<byte> data) => Convert.ToBase64String(HMACSHA256.HashData(key, data));

    /// <summary>Why the token is refused; null if it is valid. <paramref name="expiry"/> is set if the token has
    /// one.</summary>
    public static string? Refusal(string? token, ModuleIdentity identity, DateTimeOffset now, out DateTimeOffset expiry)
    {
        expiry = DateTimeOffset.MaxValue;
        if (token is null || !token.StartsWith(Prefix, StringComparison.Ordinal))
        {
            return "the password is not a SharedAccessSignature";
        }

        var fields = Fields(token[Prefix.Length..]);
        if (!fields.TryGetValue("sr", out var audience) || !fields.TryGetValue("sig", out var signature) ||
            !fields.TryGetValue("se", out var seconds))
        {
            return "the token has no sr, sig or se";
        }

        if (!long.TryParse(seconds, NumberStyles.None, CultureInfo.InvariantCulture, out var unixSeconds) ||
            unixSeconds > DateTimeOffset.MaxValue.ToUnixTimeSeconds())
        {
            return $"the token's expiry '{seconds}' is not a number of seconds";
        }

        expiry = DateTimeOffset.FromUnixTimeSeconds(unixSeconds);
        if (expiry + ClockSkew < now)
        {
            return $"the token expired at {expiry:u}; it is now {now:u}";
        }

        // The signature is over the audience as sent, still encoded.
        var expected = HMACSHA256.HashData(identity.Key, Encoding.UTF8.GetBytes($"{audience}\n{seconds}"));
        if (!CryptographicOperations.FixedTimeEquals(expected, Decoded(WebUtility.UrlDecode(signature))))
        {
            return "the token's signature does not match this module's key";
        }

        return AudienceRefusal(WebUtility.UrlDecode(audience), identity);
    }

    static string? AudienceRefusal(string audience, ModuleIdentity identity)
    {
        // H/devices/D/modules/M, with doubly encoded ids; host and ids are compared ignoring case.
        var parts = audience.Split('/');
        var known = parts.Length == 5 && Same(parts[1], "devices") && Same(parts[3], "modules") &&
            (Same(parts[0], identity.HubHost) || Same(parts[0], identity.GatewayHost)) &&
            Same(WebUtility.UrlDecode(parts[2]), identity.DeviceId) &&
            Same(WebUtility.UrlDecode(parts[4]), identity.ModuleId);
        return known ? null : $"the token's audience '{audience}' is not {identity.HubHost}/devices/{identity.DeviceId}/modules/{identity.ModuleId}";
    }

    static Dictionary<string, string> Fields(string text)
    {
        var fields = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var part in text.Split('&'))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0)
            {
                fields.TryAdd(part[..equals], part[(equals + 1)..]);
            }
        }

        return fields;
    }

    static byte[] Decoded(string base64)
    {
        var bytes = new byte[base64.Length];
        return Convert.TryFromBase64String(base64, bytes, out var length) ? bytes[..length] : [];
    }

    static bool Same(string left, string right) => string.Equals(left, right, StringComparison.OrdinalIgnoreCase);
}
