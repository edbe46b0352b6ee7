using Microsoft.Extensions.Configuration;
using SensorForwarder.Configuration;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The variables <c>Mqtt__NAME__*</c>: the credentials of a sensor of kind <c>mqtt</c> for its broker.</summary>
public sealed class MqttBootTests
{
    const string User = "Mqtt__zigbee__UserName", Password = "Mqtt__zigbee__Password", PasswordFile = "Mqtt__zigbee__PasswordFile",
        For = "Mqtt__zigbee__SecretsFor", CaFile = "Mqtt__zigbee__CaFile", Certificate = "Mqtt__zigbee__ClientCertificateFile",
        Key = "Mqtt__zigbee__ClientKeyFile";

    static BootOptions Read(params (string Name, string Value)[] environment) => BootOptions.Read(
        new ConfigurationBuilder().AddInMemoryCollection(environment.Select(pair =>
            KeyValuePair.Create(pair.Name.Replace("__", ":", StringComparison.Ordinal), (string?)pair.Value))).Build());

    static string? PasswordOf(MqttSecrets secrets) => secrets.ReadPassword() is { } bytes ? System.Text.Encoding.UTF8.GetString(bytes) : null;

    [Fact]
    public void Each_sensor_has_its_own_broker_credentials()
    {
        var boot = Read(
            (User, "me"), (Password, "secret-1"), (For, "mqtts://broker.example"), (CaFile, "/run/ca.pem"), (Certificate, "/run/client.pem"), (Key, "/run/key.pem"),
            ("Mqtt__green house__UserName", "you"), ("Mqtt__green house__SecretsFor", "mqtt://[::1]:1884/"));
        var zigbee = boot.Mqtt.Of("zigbee");
        Assert.Equal(("me", "secret-1", new MqttBroker("broker.example", 8883, true)), (zigbee.UserName, PasswordOf(zigbee), zigbee.For));
        Assert.Equal(
            ("/run/ca.pem", "/run/client.pem", $"{Key}: '/run/key.pem'"),
            (zigbee.Tls.Roots!.Path, zigbee.Tls.Certificate!.Path, zigbee.Tls.KeyFile!.ToString()));
        Assert.Contains(zigbee.Tls, boot.Tls);
        var greenHouse = boot.Mqtt.Of("green house");
        Assert.Equal(("you", null, "mqtt://[::1]:1884"), (greenHouse.UserName, PasswordOf(greenHouse), greenHouse.For!.ToString()));
        Assert.Null(boot.Mqtt.Of("attic").UserName);
        Assert.Empty(Read().Mqtt.ByName);
    }

    [Fact]
    public void Variable_names_are_case_insensitive() => Assert.Equal("me", Read(("MQTT__ZIGBEE__USERNAME", "me"), (For, "mqtt://x")).Mqtt.Of("zigbee").UserName);

    [Fact]
    public void A_password_file_is_read_again_for_each_connection()
    {
        var directory = Directory.CreateTempSubdirectory("mqtt-boot-");
        try
        {
            var path = Path.Combine(directory.FullName, "password");
            var secrets = Read((User, "me"), (PasswordFile, path), (For, "mqtt://x")).Mqtt.Of("zigbee");
            Assert.StartsWith($"{PasswordFile}: '{path}' can't be read (", Assert.Throws<SensorFault>(secrets.ReadPassword).Message, StringComparison.Ordinal);
            File.WriteAllText(path, "\n");
            Assert.Equal($"{PasswordFile}: '{path}' can't be read (it is empty)", Assert.Throws<SensorFault>(secrets.ReadPassword).Message);
            File.WriteAllText(path, "geheim 1 \r\n");
            Assert.Equal("geheim 1 ", PasswordOf(secrets));
            File.WriteAllText(path, "geheim 2");
            Assert.Equal("geheim 2", PasswordOf(secrets));
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("Mqtt__zigbee__Passwort", "x", "Mqtt__zigbee__Passwort: there is no such variable; there are Mqtt__zigbee__UserName, Mqtt__zigbee__Password, ")]
    [InlineData("Mqtt__zigbee", "me", "Mqtt__zigbee: there is no such variable; there are Mqtt__NAME__UserName, ")]
    [InlineData("Mqtt__UserName", "me", "Mqtt__UserName: there is no such variable; there are Mqtt__NAME__UserName, ")]
    [InlineData(Password, "geheim", "Mqtt__zigbee__UserName is missing, but a password is set.")]
    [InlineData(PasswordFile, "/run/geheim", "Mqtt__zigbee__UserName is missing, but a password is set.")]
    [InlineData(User, "me", "Mqtt__zigbee__SecretsFor is missing: set it to the broker that may get the user name, ")]
    [InlineData(Certificate, "/run/client.pem", "Mqtt__zigbee__SecretsFor is missing: set it to the broker that may get the user name, ")]
    [InlineData(For, "mosquitto:1883", "Mqtt__zigbee__SecretsFor: ")]
    [InlineData(For, "mqtt://me:geheim@mosquitto", "Mqtt__zigbee__SecretsFor: ")]
    [InlineData(Key, "/run/key.pem", "Mqtt__zigbee__ClientKeyFile: '/run/key.pem' is a key without a certificate; set Mqtt__zigbee__ClientCertificateFile too.")]
    public void An_invalid_MQTT_variable_is_named_without_showing_a_secret(string name, string value, string message)
    {
        var actual = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith(message, actual, StringComparison.Ordinal);
        Assert.DoesNotContain("geheim", name.EndsWith("File", StringComparison.Ordinal) ? "" : actual, StringComparison.Ordinal);
    }

    [Fact]
    public void A_password_and_a_password_file_together_are_refused() => Assert.Equal(
        $"{Password} and {PasswordFile} are both set; unset one.",
        Assert.Throws<BootValueException>(() => Read((User, "me"), (Password, "geheim"), (PasswordFile, "/run/password"))).Message);
}
