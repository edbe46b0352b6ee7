using System.Net;
using System.Text;
using EdgeSimulator.Hub;

namespace SensorForwarder.Tests.Simulator;

/// <summary>Test vectors of signed tokens, and tokens that edgeHub refuses.</summary>
public sealed class SasTokenTests
{
    const string Audience = "stubhub.azure-devices.net%2Fdevices%2Fpi1%2Fmodules%2Ftelemetry";
    const string Literal = $"SharedAccessSignature sr={Audience}&sig=9JGkOQzwJNbJ0JrQOTn16uXuRcs%2FV3lPnzVdB1863UY%3D&se=1795533816";

    static readonly DateTimeOffset Expiry = DateTimeOffset.FromUnixTimeSeconds(1795533816);
    static readonly byte[] Key = Convert.FromBase64String("bW9kdWxla2V5bW9kdWxla2V5bW9kdWxla2V5MTIzNDU=");

    static readonly ModuleIdentity Identity = new()
    {
        HubHost = "stubhub.azure-devices.net",
        GatewayHost = "localhost",
        DeviceId = "pi1",
        ModuleId = "telemetry",
        GenerationId = "1",
        Key = Key,
    };

    [Theory]
    [InlineData(1795533816, "9JGkOQzwJNbJ0JrQOTn16uXuRcs/V3lPnzVdB1863UY=")]
    [InlineData(1795532822, "IrqyfqL+rJnh1Yap713fkO03HeA3Cc8NNvus1gkjbsY=")]
    public void Signature_equals_that_of_the_SDK(long expiry, string signature) =>
        Assert.Equal(signature, SasToken.Sign(Key, Encoding.UTF8.GetBytes($"{Audience}\n{expiry}")));

    [Fact]
    public void Token_of_the_SDK_is_accepted()
    {
        Assert.Null(SasToken.Refusal(Literal, Identity, Expiry.AddHours(-1), out var expiry));
        Assert.Equal(Expiry, expiry);
    }

    [Theory]
    [InlineData(299, true)]
    [InlineData(301, false)]
    public void Token_is_accepted_up_to_five_minutes_after_its_expiry(int secondsAfter, bool taken) =>
        Assert.Equal(taken, SasToken.Refusal(Literal, Identity, Expiry.AddSeconds(secondsAfter), out _) is null);

    [Theory]
    [InlineData("stubhub.azure-devices.net/devices/pi1/modules/telemetry", true)]
    [InlineData("STUBHUB.azure-devices.net/devices/PI1/modules/Telemetry", true)]
    [InlineData("localhost/devices/pi1/modules/telemetry", true)]
    [InlineData("otherhub.azure-devices.net/devices/pi1/modules/telemetry", false)]
    [InlineData("stubhub.azure-devices.net/devices/pi2/modules/telemetry", false)]
    [InlineData("stubhub.azure-devices.net/devices/pi1/modules/other", false)]
    [InlineData("stubhub.azure-devices.net/devices/pi1", false)]
    public void Audience_must_name_the_hub_or_the_gateway_and_this_module(string audience, bool taken)
    {
        var encoded = WebUtility.UrlEncode(audience);
        var signature = SasToken.Sign(Key, Encoding.UTF8.GetBytes($"{encoded}\n1795533816"));
        var token = $"SharedAccessSignature sr={encoded}&sig={WebUtility.UrlEncode(signature)}&se=1795533816";

        Assert.Equal(taken, SasToken.Refusal(token, Identity, Expiry, out _) is null);
    }

    [Theory]
    [InlineData(null, "not a SharedAccessSignature")]
    [InlineData("", "not a SharedAccessSignature")]
    [InlineData("secret", "not a SharedAccessSignature")]
    [InlineData("SharedAccessSignature sr=a&se=1", "has no sr, sig or se")]
    [InlineData("SharedAccessSignature sr=a&sig=b&se=soon", "'soon'")]
    [InlineData("SharedAccessSignature sr=a&sig=b&se=99999999999999", "is not a number")]
    [InlineData($"SharedAccessSignature sr={Audience}&sig=AAAA&se=1795533816", "signature")]
    [InlineData($"SharedAccessSignature sr={Audience}&sig=%%%&se=1795533816", "signature")]
    public void Refusal_says_what_is_wrong(string? token, string words) =>
        Assert.Contains(words, SasToken.Refusal(token, Identity, Expiry.AddHours(-1), out _), StringComparison.Ordinal);
}
