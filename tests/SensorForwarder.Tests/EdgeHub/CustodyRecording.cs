using System.Text.Json;
using SensorForwarder.EdgeHub.Upstream;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>A run of the real edgeHub: its metrics page at each second, and when each message was acknowledged and arrived.</summary>
internal sealed record CustodyRecording(
    string Case, IReadOnlyList<CustodyRecording.Look> Looks, IReadOnlyList<CustodyRecording.Message> Messages)
{
    // Only this case has messages without a route; in it, messages are dropped for no other reason.
    const string UnroutedCase = "no_route";

    /// <param name="Time">Seconds since the start of the recording.</param>
    /// <param name="Acknowledged">How many messages edgeHub had acknowledged.</param>
    /// <param name="Page">Null: the page did not answer.</param>
    public readonly record struct Look(double Time, int Acknowledged, MetricsPage? Page);

    /// <param name="Acknowledged">When edgeHub acknowledged it, in seconds.</param>
    /// <param name="Arrived">When it arrived in the cloud; null: never.</param>
    public readonly record struct Message(double Acknowledged, double? Arrived);

    public bool HasUnrouted => Case == UnroutedCase;

    public string Output(int message) => HasUnrouted && message % 2 == 1 ? "unrouted" : "routed";

    public static CustodyRecording Read(string path)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(path));
        var name = json.RootElement.GetProperty("case").GetString()!;
        return new(
            name,
            [.. json.RootElement.GetProperty("looks").EnumerateArray().Select(look => ReadLook(look, name))],
            [.. json.RootElement.GetProperty("messages").EnumerateArray().Select(message =>
                new Message(message[0].GetDouble(), Number(message[1])))]);
    }

    // seconds, instance, acknowledged, R, S, Q, D
    static Look ReadLook(JsonElement look, string name)
    {
        var (time, acknowledged) = (look[0].GetDouble(), look[2].GetInt32());
        if (look[1].GetString() is not { } instance) return new(time, acknowledged, null);
        var unrouted = new Dictionary<string, long>();
        if (name == UnroutedCase && look[6].GetInt64() is > 0 and var dropped) unrouted["unrouted"] = dropped;
        var sent = look[4].GetInt64();
        return new(time, acknowledged, Page(instance, look[3].GetInt64(), sent, unrouted, look[5].GetInt64()));
    }

    public static MetricsPage Page(
        string instance, long received, long sent, Dictionary<string, long> unrouted, long queue) =>
        new(instance, received, sent, unrouted, new Dictionary<string, long> { ["0"] = sent },
            new Dictionary<string, long> { ["0"] = queue });

    static double? Number(JsonElement value) => value.ValueKind == JsonValueKind.Null ? null : value.GetDouble();
}
