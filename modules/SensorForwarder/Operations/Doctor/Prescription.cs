using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using SensorForwarder.Sensors.Serial;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Doctor;

/// <summary>Writes an examination as text and JSON, with the createOptions and <c>sensors</c> settings that would work.
/// </summary>
internal static partial class Prescription
{
    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>The deployment's createOptions, with the devices of the sensors in use and of the suggested ones, those
    /// that this process may not examine, and the numbers of their groups.</summary>
    public static JsonObject CreateOptions(Examination examination)
    {
        var buses = Chips(examination).Select(chip => $"i2c-{chip.Bus}").ToHashSet();
        var ports = examination.Ports.Where(port => port.Heard?.Kind is not null).Select(port => port.Name.Path)
            .ToHashSet();
        var nodes = examination.Nodes.Where(
            node => (node.Access == NodeAccess.Denied && !node.IsSerial) || examination.InUse.Contains(node.Path)
                || ports.Contains(node.Path) || buses.Contains(Path.GetFileName(node.Path))).ToList();
        var devices = List(nodes, node => Map(
            ("PathOnHost", node.Path), ("PathInContainer", node.Path), ("CgroupPermissions", "rw")));
        var groups = nodes.Where(node => node is { Group: not null, MayOthers: false })
            .Select(node => node.Group!.Value).Distinct().Order()
            .Select(group => group.ToString(CultureInfo.InvariantCulture));
        return Map(("HostConfig", Map(("Devices", devices), ("GroupAdd", Texts(groups)))));
    }

    /// <summary>An entry of the <c>sensors</c> setting for everything that can be read and is not read yet.</summary>
    public static JsonObject Sensors(Examination examination)
    {
        var sensors = new JsonObject();
        foreach (var chip in Chips(examination))
        {
            sensors[$"{chip.Kinds[0]}-{chip.Bus}-{chip.Address:x2}"] = Map(
                ("kind", chip.Kinds[0]), ("bus", chip.Bus), ("address", $"0x{chip.Address:x2}"));
        }

        foreach (var port in examination.Ports)
        {
            if (port.Heard is not { Kind: { } kind } heard) continue;
            var entry = Map(("kind", kind.Name), ("port", port.Name.Port));
            if (heard.Baud != PortListener.UsualBaud) entry["baud"] = heard.Baud;
            sensors[$"{kind.Name}-{port.Name.Node}"] = entry;
        }

        foreach (var source in examination.Sources.Where(source => source.Channels.Count > 0))
        {
            var entry = Map(("kind", source.Kind), (source.Kind == "thermal" ? "zone" : "device", source.Name));
            // Skips hwmon devices that repeat a thermal zone or a 1-wire chip, and those of the machine itself.
            if (source.Kind == "hwmon" && !I2cChip().IsMatch(source.Parent) && source.Name != "rpi_volt") continue;
            if (source.Parent.Length > 0) entry["parent"] = source.Parent;
            var name = string.Concat($"{source.Name}{(source.Parent.Length > 0 ? "-" : "")}{source.Parent}"
                .Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' ? c : '_'));
            sensors.TryAdd(name, entry);
        }

        return sensors;
    }

    /// <summary>The unused chips whose kind is certain, each once. A chip on the same bus as a multiplexer also answers
    /// on each bus behind it; a chip behind a multiplexer also answers on the multiplexer's own bus if its channel was
    /// used last.</summary>
    static IEnumerable<FoundChip> Chips(Examination examination)
    {
        return examination.Chips.Where(chip => chip is { Owner: null, Kinds.Count: 1 } && !IsElsewhere(chip));

        bool IsElsewhere(FoundChip chip)
        {
            var isBehind = examination.Parents.TryGetValue(chip.Bus, out var parent);
            return isBehind ? IsOn(parent, chip) && IsOnAll(parent, chip)
                : Behind(chip.Bus).Any(bus => IsOn(bus, chip)) && !IsOnAll(chip.Bus, chip);
        }

        bool IsOnAll(int parent, FoundChip chip) =>
            Behind(parent).Count() > 1 && Behind(parent).All(bus => IsOn(bus, chip));

        IEnumerable<int> Behind(int parent) =>
            examination.Parents.Where(bus => bus.Value == parent).Select(bus => bus.Key);

        bool IsOn(int bus, FoundChip chip) =>
            examination.Chips.Any(other => other.Bus == bus && other.Address == chip.Address);
    }

    /// <param name="status">The module's status; null: no module is running.</param>
    public static JsonObject ToJson(Examination examination, JsonObject? status = null) => new()
    {
        ["user"] = examination.Process.User,
        ["groups"] = List(examination.Process.Groups, group => group),
        ["nodes"] = List(examination.Nodes, node => Map(
            ("path", node.Path), ("about", node.About), ("access", node.Access.ToString()), ("group", node.Group),
            ("advice", node.Advice(examination.Process)))),
        ["chips"] = List(examination.Chips, chip => Map(
            ("bus", chip.Bus), ("address", $"0x{chip.Address:x2}"), ("kinds", Texts(chip.Kinds)),
            ("owner", chip.Owner))),
        ["sources"] = List(examination.Sources, source => Map(
            ("kind", source.Kind), ("name", source.Name), ("parent", source.Parent),
            ("channels", Texts(source.Channels)))),
        ["gpio"] = List(examination.Gpios, chip => Map(
            ("chip", chip.Label), ("node", chip.Node), ("lines", chip.Lines.Count),
            ("used", List(chip.Lines.Where(line => line.User is not null), line => Map(
                ("line", line.Offset), ("name", line.Name), ("user", line.User)))))),
        ["ports"] = List(examination.Ports, port => Map(
            ("port", port.Name.Port), ("node", port.Name.Node), ("state", port.State),
            ("kind", port.Heard?.Kind?.Name), ("silent", port.IsSilent))),
        ["checked"] = List(examination.Checked, sensor => Map(
            ("sensor", sensor.Name), ("place", sensor.Place), ("answers", sensor.IsAnswering),
            ("outcome", Outcome(sensor, status)))),
        ["fileRoots"] = Texts(examination.FileRoots),
        ["edgeHub"] = Texts(EdgeHub(status)),
        ["createOptions"] = CreateOptions(examination),
        ["sensors"] = Sensors(examination),
    };

    /// <inheritdoc cref="ToJson"/>
    /// <param name="problems">What is wrong with sensors in the settings.</param>
    public static string ToText(
        Examination examination, JsonObject? status = null, IReadOnlyList<string>? problems = null)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"This process is user {examination.Process.User} in groups "
            + $"{string.Join(", ", examination.Process.Groups)}.");
        Section("Device nodes", examination.Nodes.Select(node =>
            $"{node.Path,-18} {node.About,-28} group {node.Group?.ToString(CultureInfo.InvariantCulture) ?? "?",-6} {(
                node.Access == NodeAccess.Usable ? "usable" : node.Advice(examination.Process))}"));
        Section("Chips on I2C buses", examination.Chips.Select(chip =>
            $"bus {chip.Bus} 0x{chip.Address:x2}  {(chip.Kinds.Count > 1 ? "may be " : "")}"
            + $"{string.Join(" or ", chip.Kinds)}{(chip.Owner is null ? "" : $" (used by {chip.Owner})")}"));
        Section("Serial ports", examination.Ports.SelectMany(Describe));
        Section("Sensors on serial ports and Modbus connections, in the settings", examination.Checked.Select(sensor =>
            $"{sensor.Name}: {sensor.Place} {Outcome(sensor, status)}"));
        Section("Errors in the settings of sensors", problems ?? []);
        Section("Kernel devices", examination.Sources.Select(source =>
            $"{source.Kind,-8} {source.Name}{(
                source.Parent.Length > 0 ? $" at {source.Parent}" : "")}: {string.Join(", ", source.Channels)}"));
        Section("GPIO chips, for kinds gpio and counter", examination.Gpios.SelectMany(Describe));
        Section("Directories whose files kind file may read (Sensors__FileRoots)", examination.FileRoots.Select(root =>
            $"{root}{(Directory.Exists(root) ? "" : " (missing)")}"));
        Section("Messages that edgeHub lost", EdgeHub(status));
        Section("createOptions for the deployment", CreateOptions(examination).ToJsonString(Indented).Split('\n'));
        Section("The setting \"sensors\"", Sensors(examination).ToJsonString(Indented).Split('\n'));
        return text.ToString();

        void Section(string title, IEnumerable<string> lines)
        {
            text.AppendLine().AppendLine(title);
            var hasAny = false;
            foreach (var line in lines)
            {
                text.Append("  ").AppendLine(line.TrimEnd());
                hasAny = true;
            }

            if (!hasAny) text.AppendLine("  none");
        }
    }

    static IEnumerable<string> Describe(FoundPort port)
    {
        yield return $"{port.Name.Port}: {port.State}";
        if (!port.IsSilent) yield break;
        yield return $"  \"co2\": {{\"kind\":\"mhz19\",\"port\":\"{port.Name.Port}\"}}";
        yield return $"  \"meter\": {{\"kind\":\"modbus\",\"connection\":\"{port.Name.Port}\",\"unit\":1,"
            + "\"values\":{\"first\":{\"address\":0}}}";
    }

    /// <summary>What a device answered, or the state of the sensor in the running module.</summary>
    static string Outcome(CheckedSensor sensor, JsonObject? status)
    {
        if (sensor.IsAnswering is { } isAnswering)
            return $"{(isAnswering ? "answers" : "does not answer")}: {sensor.Outcome}";
        if (status?["sensors"]?[sensor.Name] is not JsonObject state) return sensor.Outcome;
        var why = string.Join(": ", new[] { (string?)state["reason"], (string?)state["detail"] }.OfType<string>());
        return $"{sensor.Outcome}, {(string?)state["state"]}{(why.Length > 0 ? $": {why}" : "")}";
    }

    static IEnumerable<string> Describe(FoundGpio chip)
    {
        yield return $"{chip.Label} ({chip.Node}): {chip.Lines.Count} lines";
        var free = chip.Lines.Where(line => line.User is null).ToList();
        if (free.Count > 0)
            yield return $"  free: {string.Join(
                ", ", free.Select(line => line.Name.Length > 0 ? $"{line.Offset} {line.Name}" : $"{line.Offset}"))}";
        foreach (var line in chip.Lines.Where(
            line => line.User is not null)) yield return $"  {line}: used by {line.User}";
    }

    // The messages that edgeHub accepted and did not deliver, as far as the module knows.
    static IEnumerable<string> EdgeHub(JsonObject? status)
    {
        if (status is null) yield return "unknown: no module that runs on Buffer__Directory answers";
        var upstream = status?["upstream"];
        if (upstream?["lostMessages"] is JsonValue lost && lost.GetValue<long>() > 0)
            yield return $"{lost} messages that it had accepted; {upstream["returnedReadings"]} readings were sent "
                + "again. In edgeHub's environment, set TrackDeviceState=false or UpstreamProtocol=Amqp, so that it "
                + "discards nothing while the cloud refuses it; set a timeToLiveSecs longer than an outage, and a "
                + "storageFolder on the host";
        if ((string?)upstream?["outputsWithoutRoute"] is { } outputs)
            yield return $"all messages of {LogText.Clean(outputs)}, for which there is no route: add FROM "
                + "/messages/modules/MODULE/outputs/OUTPUT INTO $upstream to the deployment; the readings are kept";
        if ((string?)status?["link"]?["custody"] == "edgeHub")
            yield return "unknown: its metrics page can't be read; set EdgeHub__MetricsUrl to its URL";
    }

    static JsonArray List<T>(IEnumerable<T> items, Func<T, JsonNode?> json) => new([.. items.Select(json)]);

    static JsonObject Map(params IEnumerable<(string Name, JsonNode? Value)> entries) =>
        new(entries.Select(entry => KeyValuePair.Create(entry.Name, entry.Value)));

    static JsonArray Texts(IEnumerable<string> texts) => List(texts, text => text);

    [GeneratedRegex("^[0-9]+-[0-9a-f]{4}$", RegexOptions.CultureInvariant)]
    private static partial Regex I2cChip();
}
