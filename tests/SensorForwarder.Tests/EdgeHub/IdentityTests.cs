using CsCheck;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Options;

namespace SensorForwarder.Tests.EdgeHub;

public sealed class IdentityTests
{
    const string Key = HubWorld.Key;
    const string Full = $"HostName=h.azure-devices.net;DeviceId=d;ModuleId=m;SharedAccessKey={Key};GatewayHostName=gw";

    static readonly Dictionary<string, string?> EdgeAgent = new()
    {
        ["IOTEDGE_WORKLOADURI"] = "unix:///var/run/iotedge/workload.sock",
        ["IOTEDGE_DEVICEID"] = "d",
        ["IOTEDGE_MODULEID"] = "m",
        ["IOTEDGE_IOTHUBHOSTNAME"] = "h.azure-devices.net",
        ["IOTEDGE_AUTHSCHEME"] = "sasToken",
        ["IOTEDGE_MODULEGENERATIONID"] = "637",
        ["IOTEDGE_GATEWAYHOSTNAME"] = "edge",
    };

    static EdgeIdentity? Read(IEnumerable<KeyValuePair<string, string?>> environment) => EdgeIdentityReader.Read(
        new ConfigurationBuilder().AddInMemoryCollection(environment.Select(
            pair => KeyValuePair.Create(pair.Key.Replace("__", ":", StringComparison.Ordinal), pair.Value))).Build());

    static EdgeIdentity? Read(params (string Name, string? Value)[] environment) =>
        Read(environment.Select(pair => KeyValuePair.Create(pair.Name, pair.Value)));

    static string Refusal(params (string Name, string? Value)[] environment)
    {
        var message = Assert.Throws<BootValueException>(() => Read(environment)).Message;
        Assert.DoesNotContain('\n', message);
        Assert.DoesNotContain(Key, message, StringComparison.Ordinal);
        return message;
    }

    [Fact]
    public void A_module_behind_a_gateway_is_read_from_its_connection_string()
    {
        var identity = Read(("EdgeHubConnectionString", Full), ("EdgeModuleCACertificateFile", "/ca.pem"))!;
        Assert.Equal(("gw", "d/m", "h.azure-devices.net"), (identity.DialledHostName, identity.ClientId, identity.HubHostName));
        Assert.Equal("/ca.pem", identity.Tls.Roots!.Path);
        Assert.Equal(Convert.FromBase64String(Key), identity.SharedAccessKey!.Value.ToArray());
        Assert.DoesNotContain(Key, identity.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_without_IoT_Edge_connects_directly_to_the_hub()
    {
        var identity = Read(("IotHubConnectionString", $"HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey={Key}"))!;
        Assert.Equal(("h.azure-devices.net", "d", null), (identity.DialledHostName, identity.ClientId, identity.ModuleId));
        Assert.Equal("devices/d/messages/events/", HubTopics.Telemetry(identity, []));
    }

    [Fact]
    public void Identity_variables_have_the_same_precedence_as_in_the_SDK()
    {
        (string, string?)[] all =
        [
            .. EdgeAgent.Select(pair => (pair.Key, pair.Value)), ("IotHubConnectionString", Full.Replace("=d;", "=second;", StringComparison.Ordinal)),
            ("EdgeHubConnectionString", Full.Replace("=d;", "=first;", StringComparison.Ordinal)),
        ];
        Assert.Equal("first", Read(all)!.DeviceId);
        Assert.Equal("second", Read(all[..^1])!.DeviceId);
        Assert.Equal("d", Read(all[..^2])!.DeviceId);
        Assert.Null(Read());
    }

    [Fact]
    public void A_direct_connection_can_use_a_certificate_instead_of_a_key()
    {
        var identity = Read(
            ("IotHubConnectionString", "HostName=h.azure-devices.net;DeviceId=d;x509=true"),
            ("EdgeHub__ClientCertificateFile", "/cert.pem"), ("EdgeHub__ClientKeyFile", "/key.pem"))!;
        Assert.Equal(("/cert.pem", "/key.pem"), (identity.Tls.Certificate!.Path, identity.Tls.Key!.Path));
        Assert.Null(identity.SharedAccessKey);
    }

    [Theory]
    [InlineData("HostName")]
    [InlineData("DeviceId")]
    [InlineData("SharedAccessKey")]
    public void A_missing_part_of_a_connection_string_is_named_in_the_error(string part)
    {
        var text = string.Join(';', Full.Split(';').Where(pair => !pair.StartsWith(part, StringComparison.Ordinal)));
        Assert.StartsWith($"EdgeHubConnectionString: {part} is missing", Refusal(("EdgeHubConnectionString", text)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("nonsense", "not a list of Name=Value")]
    [InlineData("HostName=https://h/;DeviceId=d;SharedAccessKey=" + Key, "HostName a text of 10 characters is not a host name")]
    [InlineData("HostName=h:8883;DeviceId=d;SharedAccessKey=" + Key, "HostName a text of 6 characters is not a host name")]
    [InlineData("HostName=h;DeviceId=a/b;SharedAccessKey=" + Key, "DeviceId a text of 3 characters is not an id")]
    [InlineData("HostName=h;DeviceId=a#;SharedAccessKey=" + Key, "DeviceId a text of 2 characters is not an id")]
    [InlineData("HostName=h;DeviceId=d;ModuleId=;SharedAccessKey=" + Key, "ModuleId is empty")]
    [InlineData("HostName=h;DeviceId=d;GatewayHostName=;SharedAccessKey=" + Key, "GatewayHostName is empty")]
    [InlineData("HostName=h;DeviceId=d;SharedAccessKey=???", "SharedAccessKey is not Base64")]
    [InlineData("HostName=h;DeviceId=d;DeviceId=e;SharedAccessKey=" + Key, "DeviceId occurs twice")]
    [InlineData("HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=" + Key, "SharedAccessKeyName belongs to a service")]
    [InlineData("HostName=h;DeviceId=d;x509=yes", "x509 is neither true nor false")]
    public void A_malformed_connection_string_is_a_single_line_error_that_names_the_variable(string text, string part)
    {
        var message = Refusal(("IotHubConnectionString", text));
        Assert.StartsWith("IotHubConnectionString: ", message, StringComparison.Ordinal);
        Assert.Contains(part, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Inconsistent_certificate_and_key_settings_are_named_in_the_error()
    {
        const string X509 = "HostName=h;DeviceId=d;x509=true";
        Assert.StartsWith("EdgeHub__ClientCertificateFile: missing", Refusal(("IotHubConnectionString", X509)), StringComparison.Ordinal);
        Assert.StartsWith(
            "EdgeHub__ClientCertificateFile: set, but IotHubConnectionString does not say x509=true",
            Refusal(("IotHubConnectionString", Full), ("EdgeHub__ClientCertificateFile", "/c")), StringComparison.Ordinal);
        Assert.Contains(
            "both SharedAccessKey and x509=true",
            Refusal(("IotHubConnectionString", $"{X509};SharedAccessKey={Key}"), ("EdgeHub__ClientCertificateFile", "/c")),
            StringComparison.Ordinal);
        Assert.StartsWith(
            "EdgeHub__ClientKeyFile: '/k' is set without a certificate; set EdgeHub__ClientCertificateFile",
            Refusal(("IotHubConnectionString", Full), ("EdgeHub__ClientKeyFile", "/k")), StringComparison.Ordinal);
    }

    [Fact]
    public void Every_missing_edgeAgent_variable_is_named_in_the_error()
    {
        foreach (var name in EdgeAgent.Keys.Where(name => name != "IOTEDGE_GATEWAYHOSTNAME"))
        {
            foreach (var nothing in (string?[])[null, "", "  "])
            {
                var environment = new Dictionary<string, string?>(EdgeAgent) { [name] = nothing };
                var message = Assert.Throws<BootValueException>(() => Read(environment)).Message;
                Assert.StartsWith($"{name}: missing", message, StringComparison.Ordinal);
            }
        }

        var straight = new Dictionary<string, string?>(EdgeAgent) { ["IOTEDGE_GATEWAYHOSTNAME"] = null };
        Assert.Equal("h.azure-devices.net", Read(straight)!.DialledHostName);
    }

    [Theory]
    [InlineData("IOTEDGE_WORKLOADURI", "tcp://1.2.3.4", "tcp://1.2.3.4 is not a Unix socket")]
    [InlineData("IOTEDGE_WORKLOADURI", "/var/run/workload.sock/", "a text of 23 characters is not a Unix socket")]
    [InlineData("IOTEDGE_WORKLOADURI", "unix://", "a text of 7 characters is not a Unix socket")]
    [InlineData("IOTEDGE_AUTHSCHEME", "x509", "'x509' is not supported")]
    [InlineData("IOTEDGE_DEVICEID", "a b", "'a b' is not an id")]
    [InlineData("IOTEDGE_MODULEID", "a+b", "'a+b' is not an id")]
    [InlineData("IOTEDGE_IOTHUBHOSTNAME", "https://h", "a text of 9 characters is not a host name")]
    [InlineData("IOTEDGE_GATEWAYHOSTNAME", "h:443", "a text of 5 characters is not a host name")]
    public void A_malformed_edgeAgent_variable_is_named_in_the_error(string name, string value, string problem)
    {
        var message = Assert.Throws<BootValueException>(() => Read(new Dictionary<string, string?>(EdgeAgent) { [name] = value })).Message;
        Assert.StartsWith($"{name}: {problem}", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Any_connection_string_gives_an_identity_or_an_error_that_names_the_variable()
    {
        string[] pieces =
        [
            "HostName=", "DeviceId=", "ModuleId=", "SharedAccessKey=", "GatewayHostName=", "x509=", ";", "=", Key, "h.net", "\n", "true",
        ];
        var part = Gen.OneOf(
            Gen.Int[0, pieces.Length - 1].Select(i => pieces[i]), Gen.String[0, 8]);
        part.Array[0, 12].Select(string.Concat).Sample(
            text =>
            {
                try
                {
                    _ = Read(("EdgeHubConnectionString", text));
                }
                catch (BootValueException exception)
                {
                    return exception.Message.StartsWith("EdgeHubConnectionString: ", StringComparison.Ordinal)
                        || exception.Message.StartsWith("EdgeHub__ClientCertificateFile: ", StringComparison.Ordinal);
                }

                return true;
            },
            seed: "0000000000001", iter: 10_000, threads: 1);
    }

    [Theory]
    [InlineData(null, nameof(HubTransport.Auto))]
    [InlineData("auto", nameof(HubTransport.Auto))]
    [InlineData("mqtt", nameof(HubTransport.Mqtt))]
    [InlineData("mqttws", nameof(HubTransport.MqttWs))]
    public void The_transport_is_read_from_the_boot_options(string? text, string transport) => Assert.Equal(transport, $"{Boot(text).Hub.Transport}");

    [Fact]
    public void An_unknown_transport_is_refused_with_the_list_of_allowed_ones()
    {
        var message = Assert.Throws<BootValueException>(() => Boot("amqp")).Message;
        Assert.StartsWith("EdgeHub__Transport: 'amqp' is not allowed; allowed is one of \"auto\", \"mqtt\"", message, StringComparison.Ordinal);
    }

    static BootOptions Boot(string? transport) => BootOptions.Read(
        new ConfigurationBuilder().AddInMemoryCollection([KeyValuePair.Create("EdgeHub:Transport", transport)]).Build());
}
