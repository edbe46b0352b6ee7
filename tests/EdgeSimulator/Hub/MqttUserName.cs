namespace EdgeSimulator.Hub;

/// <summary>The user name of a CONNECT: <c>HOST/D/M/?api-version=...&amp;DeviceClientType=...</c>. Like edgeHub, does
/// not check the host.</summary>
internal sealed record MqttUserName(string Host, string DeviceId, string? ModuleId, IReadOnlyDictionary<string, string> Query)
{
    /// <summary>Parses like edgeHub's MqttUsernameParser: three segments name a device, four a module; api-version is
    /// required.</summary>
    public static bool TryParse(string? text, out MqttUserName userName, out string error)
    {
        userName = new MqttUserName("", "", null, new Dictionary<string, string>());
        var segments = (text ?? "").Split('/');
        if (segments.Length is not (3 or 4) || segments.Any(segment => segment.Length == 0))
        {
            error = $"the user name '{text}' is not HOST/DEVICE/MODULE/?api-version=...";
            return false;
        }

        var query = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var pair in segments[^1].TrimStart('?').Split('&'))
        {
            // The first of duplicate keys wins; unknown keys are allowed.
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            query.TryAdd(equals < 0 ? pair : pair[..equals], equals < 0 ? "" : Uri.UnescapeDataString(pair[(equals + 1)..]));
        }

        if (!query.TryGetValue("api-version", out var version) || string.IsNullOrWhiteSpace(version))
        {
            error = $"the user name '{text}' has no api-version";
            return false;
        }

        userName = new MqttUserName(segments[0], segments[1], segments.Length == 4 ? segments[2] : null, query);
        error = "";
        return true;
    }
}
