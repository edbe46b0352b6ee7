using System.Text;
using SensorForwarder.Files;
using SensorForwarder.Net;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>The credentials of one sensor for its broker, and the roots that it trusts: the boot values
/// <c>Mqtt__NAME__*</c>. Never logged. Immutable, except for the content of the files.</summary>
internal sealed class MqttSecrets
{
    const int MaxPasswordBytes = 4_096;

    public string? UserName { get; init; }

    public string? Password { get; init; }

    /// <summary>The file with the password, read for each connection; null: <see cref="Password"/> is used.</summary>
    public NamedFile? PasswordFile { get; init; }

    public TlsFiles Tls { get; init; } = new();

    /// <summary>The only broker that the credentials are sent to; null: there are none.</summary>
    public MqttBroker? For { get; init; }

    /// <summary>Reads the password; null: there is none.</summary>
    /// <exception cref="SensorFault">The file can't be read.</exception>
    public byte[]? ReadPassword()
    {
        if (PasswordFile is not { } place) return Password is null ? null : Encoding.UTF8.GetBytes(Password);
        try
        {
            using var file = RegularFile.OpenRead(place.Path);
            var bytes = new byte[MaxPasswordBytes];
            var length = file.ReadAtLeast(bytes, MaxPasswordBytes, throwOnEndOfStream: false);
            var password = bytes.AsSpan(0, length).TrimEnd("\r\n"u8);
            return password.Length > 0 ? password.ToArray() : throw new IOException("it is empty");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new SensorFault(
                FaultReason.Denied, $"{place} can't be read ({LogText.Clean(exception.Message)})");
        }
    }
}

/// <summary>The credentials of all sensors of kind <c>mqtt</c>, by name. Immutable.</summary>
internal sealed class MqttOptions
{
    public IReadOnlyDictionary<string, MqttSecrets> ByName { get; init; } = new Dictionary<string, MqttSecrets>();

    static readonly MqttSecrets None = new();

    public MqttSecrets Of(string name) => ByName.GetValueOrDefault(name, None);
}
