using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Net;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>Reads the boot values <c>Mqtt__NAME__*</c>, where NAME is the name of a sensor. Its messages show no
/// secret.</summary>
internal static class MqttBootReader
{
    const string Prefix = "Mqtt", Placeholder = "NAME";

    static readonly IReadOnlyList<Option> Options =
    [
        BootTable.MqttUserName, BootTable.MqttPassword, BootTable.MqttPasswordFile, BootTable.MqttSecretsFor,
        BootTable.MqttCaFile, BootTable.MqttClientCertificateFile, BootTable.MqttClientKeyFile,
    ];

    /// <exception cref="BootValueException">A value is malformed, or not known; the message names the variable.
    /// </exception>
    public static MqttOptions Read(BootValues values)
    {
        var all = new Dictionary<string, MqttSecrets>(StringComparer.OrdinalIgnoreCase);
        foreach (var (name, text) in values.Below(Prefix))
        {
            if (text.Length > 0)
                throw new BootValueException($"{Prefix}__{LogText.Clean(name)}: there is no such variable; there are "
                    + $"{string.Join(", ", Options.Select(option => option.Name))}, where {Placeholder} is the name of "
                    + "the sensor.");
            all[name] = Read(values, name);
        }

        return new() { ByName = all };
    }

    static MqttSecrets Read(BootValues values, string name)
    {
        CheckNames(values, name);
        var password = values.Get(Of(BootTable.MqttPassword));
        var file = values.Get(Of(BootTable.MqttPasswordFile));
        if (password is not null && file is not null)
            throw new BootValueException(
                $"{Of(BootTable.MqttPassword).Name} and {Of(BootTable.MqttPasswordFile).Name} are both set; "
                    + "unset one.");
        var user = values.Get(Of(BootTable.MqttUserName));
        if (user is null && (password ?? file) is not null)
            throw new BootValueException(
                $"{Of(BootTable.MqttUserName).Name} is missing, but a password is set.");
        var only = values.Get(Of(BootTable.MqttSecretsFor));
        if (only is null && (user ?? values.Get(Of(BootTable.MqttClientCertificateFile))) is not null)
            throw new BootValueException(
                $"{Of(BootTable.MqttSecretsFor).Name} is missing: set it to the broker that may get the user name, the "
                    + "password and the client certificate, such as mqtt://mosquitto:1883. Settings can name any "
                    + "broker.");
        return new()
        {
            UserName = user,
            Password = password,
            PasswordFile = file is null ? null : new(Of(BootTable.MqttPasswordFile).Name, file),
            For = only,
            Tls = HttpBootReader.ReadTls(
                values, Of(BootTable.MqttCaFile), Of(BootTable.MqttClientCertificateFile),
                Of(BootTable.MqttClientKeyFile)),
        };

        Option<T> Of<T>(Option<T> option) => option with { Name = NameOf(option, name) };
    }

    static string NameOf(Option option, string sensor) =>
        option.Name.Replace($"__{Placeholder}__", $"__{LogText.Clean(sensor)}__", StringComparison.Ordinal);

    static void CheckNames(BootValues values, string name)
    {
        var known = Options.Select(option => NameOf(option, name)).ToList();
        foreach (var (rest, _) in values.Below($"{Prefix}__{name}"))
        {
            var variable = $"{Prefix}__{LogText.Clean(name)}__{LogText.Clean(rest)}";
            if (known.Contains(variable, StringComparer.OrdinalIgnoreCase)) continue;
            throw new BootValueException(
                $"{variable}: there is no such variable; there are {string.Join(", ", known)}.");
        }
    }
}
