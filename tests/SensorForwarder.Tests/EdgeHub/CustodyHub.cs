using System.Globalization;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>A model of edgeHub's store and counters, based on the recordings.</summary>
internal sealed class CustodyHub
{
    public const string Client = "d/forwarder";

    const string Other = "other";

    // edgeHub sends groups of up to this many messages and counts each under the output of its first message.
    const int GroupSize = 10;

    // Messages with a lower number are sent first.
    static readonly Dictionary<string, int> Priorities =
        new() { ["live"] = 0, ["replay"] = 0, ["backfill"] = 1, [Other] = 1 };

    readonly List<(string Output, IdSet Ids)> _store = [];
    readonly SortedDictionary<string, long> _received = [];
    readonly SortedDictionary<string, long> _sent = [];
    readonly SortedDictionary<string, long> _unrouted = [];
    readonly SortedDictionary<string, long> _expired = [];
    int _instance;
    int _excess;

    /// <summary>The readings that are in the cloud.</summary>
    public IdSet Arrived { get; private set; } = IdSet.Empty;

    public HashSet<string> OutputsWithoutRoute { get; } = [];

    public int Stored => _store.Count;

    public void Receive(string output, IdSet ids)
    {
        Count(_received, output, 1);
        if (OutputsWithoutRoute.Contains(output)) Count(_unrouted, output, 1);
        else _store.Add((output, ids));
    }

    public void ReceiveFromOther() => _store.Add((Other, IdSet.Empty));

    /// <param name="count">How many of the oldest messages arrive in the cloud.</param>
    /// <param name="isAcknowledged">Whether the cloud's acknowledgements arrive; if not, edgeHub sends the messages
    /// again.</param>
    public void Send(int count, bool isAcknowledged)
    {
        var group = Oldest(Math.Min(count, GroupSize));
        if (group.Count == 0) return;
        Arrived = group.Aggregate(Arrived, (arrived, message) => arrived.Union(message.Ids));
        if (!isAcknowledged) return;
        Remove(group);
        foreach (var sender in group.GroupBy(message => message.Output == Other))
            Count(_sent, sender.First().Output, sender.Count());
    }

    public void Discard(int count) => Remove(Oldest(count));

    /// <summary>The oldest messages expire; the gauge counts them until the cleanup.</summary>
    public void Expire(int count)
    {
        foreach (var (output, _) in Oldest(count)) Count(_expired, output, 1);
        Discard(count);
    }

    public void CleanUp()
    {
        _expired.Clear();
        _excess = 0;
    }

    /// <summary>Keeps the store and resets the counters; the gauge is 1 too high.</summary>
    public void Restart()
    {
        _instance++;
        _received.Clear();
        _sent.Clear();
        _unrouted.Clear();
        _excess = 1;
    }

    public string Gauge() => string.Concat(Priorities.GroupBy(one => one.Value, one => one.Key).Select(outputs => Line(
        "edgehub_queue_length",
        _store.Count(message => outputs.Contains(message.Output))
            + outputs.Sum(output => _expired.GetValueOrDefault(output)) + (outputs.Key == 0 ? _excess : 0),
        $"endpoint=\"iothub\",priority=\"{outputs.Key}\"")));

    public string Counters(string family) => family switch
    {
        "received" => Lines("edgehub_messages_received_total", _received, output =>
            $"id=\"{Client}\",route_output=\"{output}\""),
        "sent" => Lines("edgehub_messages_sent_total", _sent, output =>
            $"from=\"{(output == Other ? "d/other" : Client)}\",to=\"upstream\",from_route_output=\"{output}\","
            + $"priority=\"{Priorities[output]}\""),
        _ => Lines("edgehub_messages_dropped_total", _unrouted, output =>
            $"reason=\"no_route\",from=\"{Client}\",from_route_output=\"{output}\""),
    };

    // The messages that edgeHub sends next.
    List<(string Output, IdSet Ids)> Oldest(int count)
    {
        var first = _store.Select(message => Priorities[message.Output]).DefaultIfEmpty().Min();
        return [.. _store.Where(message => Priorities[message.Output] == first).Take(count)];
    }

    void Remove(List<(string Output, IdSet Ids)> messages)
    {
        foreach (var message in messages) _store.Remove(message);
    }

    string Lines(string metric, SortedDictionary<string, long> counters, Func<string, string> labels) =>
        string.Concat(counters.Select(one => Line(metric, one.Value, labels(one.Key))));

    string Line(string metric, long value, string labels) => string.Create(
        CultureInfo.InvariantCulture, $"{metric}{{instance_number=\"{_instance}\",{labels}}} {value}\n");

    static void Count(SortedDictionary<string, long> counters, string output, long count) =>
        counters[output] = counters.GetValueOrDefault(output) + count;
}
