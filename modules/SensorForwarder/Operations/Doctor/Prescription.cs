using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace SensorForwarder.Operations.Doctor;

/// <summary>What an examination means: createOptions and <c>sensors</c> settings that would work, as text and as JSON.
/// </summary>
internal static partial class Prescription
{
    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>The deployment's createOptions, with the devices that there are and the
    /// numbers of their groups.</summary>
    public static JsonObject CreateOptions(Examination examination)
    {
        var devices = examination.Nodes.Select(node => (JsonNode)new JsonObject
        {
            ["PathOnHost"] = node.Path,
            ["PathInContainer"] = node.Path,
            ["CgroupPermissions"] = "rw",
        });
        var groups = examination.Nodes.Where(node => node is { Group: not null, MayOthers: false })
            .Select(node => node.Group!.Value).Distinct().Order()
            .Select(group => (JsonNode)group.ToString(CultureInfo.InvariantCulture));
        return new()
        {
            ["HostConfig"] =
                new JsonObject { ["Devices"] = new JsonArray([.. devices]), ["GroupAdd"] = new JsonArray([.. groups]) },
        };
    }

    /// <summary>An entry of the <c>sensors</c> setting for all that can be read and is not read yet.</summary>
    public static JsonObject Sensors(Examination examination)
    {
        var sensors = new JsonObject();
        foreach (var chip in examination.Chips.Where(chip => chip is { Owner: null, Kinds.Count: 1 }))
        {
            sensors[$"{chip.Kinds[0]}-{chip.Bus}-{chip.Address:x2}"] =
                new JsonObject { ["kind"] = chip.Kinds[0], ["bus"] = chip.Bus, ["address"] = $"0x{chip.Address:x2}" };
        }

        foreach (var source in examination.Sources.Where(source => source.Channels.Count > 0))
        {
            var entry =
                new JsonObject { ["kind"] = source.Kind, [source.Kind == "thermal" ? "zone" : "device"] = source.Name };
            // The hwmon twins of thermal zones and 1-wire chips, and those of the machine itself, would
            // only say it twice.
            if (source.Kind == "hwmon" && !I2cChip().IsMatch(source.Parent) && source.Name != "rpi_volt") continue;
            if (source.Parent.Length > 0) entry["parent"] = source.Parent;
            var name = string.Concat($"{source.Name}{(source.Parent.Length > 0 ? "-" : "")}{source.Parent}"
                .Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' ? c : '_'));
            sensors.TryAdd(name, entry);
        }

        return sensors;
    }

    public static JsonObject ToJson(Examination examination) => new()
    {
        ["user"] = examination.Process.User,
        ["groups"] = new JsonArray([.. examination.Process.Groups.Select(group => (JsonNode)group)]),
        ["nodes"] = new JsonArray([.. examination.Nodes.Select(node => (JsonNode)new JsonObject
        {
            ["path"] = node.Path, ["about"] = node.About, ["access"] = node.Access.ToString(), ["group"] = node.Group,
            ["advice"] = node.Advice(examination.Process),
        })]),
        ["chips"] = new JsonArray([.. examination.Chips.Select(chip => (JsonNode)new JsonObject
        {
            ["bus"] =
                chip.Bus, ["address"] = $"0x{chip.Address:x2}", ["kinds"] = Texts(chip.Kinds), ["owner"] = chip.Owner,
        })]),
        ["sources"] = new JsonArray([.. examination.Sources.Select(source => (JsonNode)new JsonObject
        {
            ["kind"] =
                source.Kind, ["name"] = source.Name, ["parent"] = source.Parent, ["channels"] = Texts(source.Channels),
        })]),
        ["gpio"] = new JsonArray([.. examination.Gpios.Select(chip => (JsonNode)new JsonObject
        {
            ["chip"] = chip.Label, ["node"] = chip.Node, ["lines"] = chip.Lines.Count,
            ["used"] = new JsonArray([.. chip.Lines.Where(line => line.User is not null)
                .Select(line => (JsonNode)new JsonObject { ["line"] =
                    line.Offset, ["name"] = line.Name, ["user"] = line.User })]),
        })]),
        ["fileRoots"] = Texts(examination.FileRoots),
        ["createOptions"] = CreateOptions(examination),
        ["sensors"] = Sensors(examination),
    };

    public static string ToText(Examination examination)
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
        Section("Sources of the kernel", examination.Sources.Select(source =>
            $"{source.Kind,-8} {source.Name}{(
                source.Parent.Length > 0 ? $" at {source.Parent}" : "")}: {string.Join(", ", source.Channels)}"));
        Section("GPIO chips, for kinds gpio and counter", examination.Gpios.SelectMany(Describe));
        Section("Directories whose files kind file may read (Sensors__FileRoots)", examination.FileRoots.Select(root =>
            $"{root}{(Directory.Exists(root) ? "" : " (not there)")}"));
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

    static JsonArray Texts(IEnumerable<string> texts) => new([.. texts.Select(text => (JsonNode)text)]);

    [GeneratedRegex("^[0-9]+-[0-9a-f]{4}$", RegexOptions.CultureInvariant)]
    private static partial Regex I2cChip();
}
