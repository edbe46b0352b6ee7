using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Net;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The bytes that are sent, and the reactions to invalid bytes that are received.</summary>
public sealed class WireTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    internal static EdgeIdentity Identity(RawHub hub) => new()
    {
        HubHostName = "stubhub.azure-devices.net",
        GatewayHostName = hub.HostName,
        DeviceId = "pi1",
        ModuleId = "telemetry",
        SharedAccessKey = Convert.FromBase64String(HubWorld.Key),
        Tls = new() { Roots = new(EdgeIdentityReader.CaVariable, hub.CaFile) },
        Source = "EdgeHubConnectionString",
    };

    // One hour before the recorded token expires.
    static FakeTimeProvider Clock { get; } = new(DateTimeOffset.FromUnixTimeSeconds(1795533816 - 3600));

    static HubDialer Dialer(EdgeIdentity identity, string? modelId = null) =>
        new(identity, new() { Transport = HubTransport.Mqtt, ModelId = modelId }, Clock, new Random(1));

    static async Task<(byte[] Connect, string? Certificate)> ConnectAsync(Func<RawHub, EdgeIdentity> identity, string? modelId = null)
    {
        var connect = new TaskCompletionSource<(byte[], string?)>();
        await using var hub = new RawHub(async connection =>
        {
            var bytes = await connection.WelcomeAsync();
            connect.SetResult((bytes, connection.ClientCertificateName));
        }, Clock);
        using var dialer = Dialer(identity(hub), modelId);
        var (session, _) = await dialer.DialAsync(_ => { }, Token);
        await session.CloseAsync();
        return await connect.Task;
    }

    static List<string> Fields(byte[] connect)
    {
        var at = 0;
        while ((connect[++at] & 0x80) != 0)
        {
        }

        var fields = new List<string>();
        at += 1 + 10; // protocol name, level, flags, keep alive
        while (at < connect.Length)
        {
            var length = (connect[at] << 8) | connect[at + 1];
            fields.Add(Encoding.UTF8.GetString(connect, at + 2, length));
            at += 2 + length;
        }

        return fields;
    }

    static byte[] VariableHeader(byte[] connect) => connect[Array.IndexOf(connect, (byte)'M') is var m ? (m - 2)..(m + 8) : ..];

    [Fact]
    public async Task CONNECT_equals_that_of_the_SDK_except_for_product_and_keep_alive()
    {
        string? host = null;
        var (connect, certificate) = await ConnectAsync(hub =>
        {
            host = hub.HostName;
            return Identity(hub);
        });
        // "MQTT" level 4, user name and password, no clean session, no will; 60 s.
        Assert.Equal(Convert.FromHexString("00044d51545404c0003c"), VariableHeader(connect));
        Assert.Equal(
            [
                "pi1/telemetry",
                $"{host}/pi1/telemetry/?api-version=2020-09-30&DeviceClientType=SensorForwarder%2F0.1.0",
                "SharedAccessSignature sr=stubhub.azure-devices.net%2Fdevices%2Fpi1%2Fmodules%2Ftelemetry"
                    + "&sig=9JGkOQzwJNbJ0JrQOTn16uXuRcs%2FV3lPnzVdB1863UY%3D&se=1795533816",
            ],
            Fields(connect));
        Assert.Null(certificate);
    }

    [Fact]
    public async Task A_model_is_announced_in_the_user_name()
    {
        var (connect, _) = await ConnectAsync(Identity, "dtmi:com:example:Sensor;1");
        Assert.EndsWith("&model-id=dtmi%3Acom%3Aexample%3ASensor%3B1", Fields(connect)[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_identity_has_no_module_in_its_client_id_user_name_and_token()
    {
        var (connect, _) = await ConnectAsync(hub => Identity(hub) with { ModuleId = null });
        var fields = Fields(connect);
        Assert.Equal("pi1", fields[0]);
        Assert.Contains("/pi1/?api-version=", fields[1], StringComparison.Ordinal);
        Assert.Contains("sr=stubhub.azure-devices.net%2Fdevices%2Fpi1&sig=", fields[2], StringComparison.Ordinal);
    }

    [Fact]
    public async Task With_a_client_certificate_no_password_is_sent_and_a_bad_key_file_is_named_in_the_error()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=pi1", key, HashAlgorithmName.SHA256);
        using var certificate = request.CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
        var directory = Directory.CreateTempSubdirectory("x509-");
        var (certificateFile, keyFile) = (Path.Combine(directory.FullName, "cert.pem"), Path.Combine(directory.FullName, "key.pem"));
        await File.WriteAllTextAsync(certificateFile, certificate.ExportCertificatePem(), Token);
        await File.WriteAllTextAsync(keyFile, key.ExportPkcs8PrivateKeyPem(), Token);

        var (connect, shown) = await ConnectAsync(hub => Identity(hub) with
        {
            SharedAccessKey = null,
            Tls = Files(hub),
        });
        Assert.Equal("pi1", shown);
        Assert.Equal(Convert.FromHexString("00044d5154540480"), VariableHeader(connect)[..8]);
        Assert.Equal(2, Fields(connect).Count);

        // The error for a file that has become invalid names its variable.
        await File.WriteAllTextAsync(keyFile, "no key", Token);
        await using var hub = new RawHub(_ => Task.CompletedTask, Clock);
        using var dialer = Dialer(Identity(hub) with { SharedAccessKey = null, Tls = Files(hub) });
        var failure = await Assert.ThrowsAsync<DialException>(() => dialer.DialAsync(_ => { }, Token));
        Assert.Equal(DialFailure.Credentials, failure.Failure);
        Assert.StartsWith($"EdgeHub__ClientKeyFile: '{keyFile}' has no key", failure.Message, StringComparison.Ordinal);
        directory.Delete(recursive: true);

        TlsFiles Files(RawHub hub) => new()
        {
            Roots = new(EdgeIdentityReader.CaVariable, hub.CaFile),
            Certificate = new(EdgeIdentityReader.CertificateVariable, certificateFile),
            Key = new(EdgeIdentityReader.KeyVariable, keyFile),
        };
    }

    [Fact]
    public async Task A_refused_subscription_fails_the_connection()
    {
        await using var hub = new RawHub(async connection =>
        {
            await connection.ReadPacketAsync();
            await connection.WriteAsync(0x20, 2, 0, 0);
            var subscribe = await connection.ReadPacketAsync();
            var id = RawHub.Connection.IdAt(subscribe);
            await connection.WriteAsync(0x90, 6, subscribe[id], subscribe[id + 1], 1, 0x80, 1, 1);
            await connection.ReadPacketAsync();
        }, Clock);
        using var dialer = Dialer(Identity(hub));
        var failure = await Assert.ThrowsAsync<DialException>(() => dialer.DialAsync(_ => { }, Token));
        Assert.Contains("refuses the subscription to $iothub/twin/PATCH/properties/desired/#", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_nonzero_CONNACK_code_fails_the_connection_with_the_matching_reason()
    {
        var code = 0;
        await using var hub = new RawHub(async connection =>
        {
            await connection.ReadPacketAsync();
            await connection.WriteAsync(0x20, 2, (byte)(code & 1), (byte)code);
            await connection.ReadPacketAsync();
        }, Clock);
        for (code = 1; code < 256; code += code < 16 ? 1 : 15)
        {
            using var dialer = Dialer(Identity(hub));
            var failure = await Assert.ThrowsAsync<DialException>(() => dialer.DialAsync(_ => { }, Token));
            var expected = code switch { 3 => DialFailure.NotReady, 4 or 5 => DialFailure.Refused, 1 or 2 => DialFailure.Unsupported, _ => (DialFailure?)null };
            if (expected is { } wanted) Assert.Equal(wanted, failure.Failure);
            Assert.DoesNotContain('\n', failure.Message);
        }
    }

    [Fact]
    public async Task A_missing_CA_file_is_named_in_the_error()
    {
        var identity = new EdgeIdentity
        {
            HubHostName = "h",
            GatewayHostName = IPAddress.Loopback.ToString(),
            DeviceId = "d",
            SharedAccessKey = new byte[] { 1 },
            Tls = new() { Roots = new(EdgeIdentityReader.CaVariable, "/nowhere/ca.pem") },
            Source = "EdgeHubConnectionString",
        };
        using var dialer = Dialer(identity);
        var failure = await Assert.ThrowsAsync<DialException>(() => dialer.DialAsync(_ => { }, Token));
        Assert.Equal("EdgeModuleCACertificateFile: '/nowhere/ca.pem' does not exist", failure.Message);
    }
}
