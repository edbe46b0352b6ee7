namespace SensorForwarder.EdgeHub.Upstream;

/// <summary>The counters that <see cref="Custody"/> needs from one read of edgeHub's metrics page. All counters begin
/// at 0 with every start of edgeHub. Immutable.</summary>
/// <param name="Instance">A GUID that is new with every start of edgeHub.</param>
/// <param name="Received">Messages that edgeHub has received from our module, repeats included.</param>
/// <param name="Sent">Messages of our module that the cloud has acknowledged.</param>
/// <param name="Unrouted">Messages of our module that no route matched, by output; an output without any is absent.
/// </param>
/// <param name="SentByAll">Messages of any module that the cloud has acknowledged, by priority.</param>
/// <param name="Queues">Messages of all modules that are stored for the cloud, by priority.</param>
internal sealed record MetricsPage(
    string Instance, long Received, long Sent, IReadOnlyDictionary<string, long> Unrouted,
    IReadOnlyDictionary<string, long> SentByAll, IReadOnlyDictionary<string, long> Queues)
{
    /// <summary>Received messages that were neither sent nor dropped for lack of a route: those in transit and those
    /// that edgeHub lost. Messages that an earlier instance received and this one sent count negatively.</summary>
    public long Missing => Received - Sent - Unrouted.Values.Sum();

    /// <summary>Messages of any module that the cloud has acknowledged.</summary>
    public long AllSent => SentByAll.Values.Sum();

    /// <summary>Messages of all modules that are stored for the cloud; null: not on the page. One too many for half an
    /// hour after a restart of edgeHub. Expired messages count until edgeHub's cleanup.</summary>
    public long? Queue => Queues.Count == 0 ? null : Queues.Values.Sum();

    /// <summary>Whether all messages that were queued at an earlier page of this instance have left: at each priority,
    /// more messages were sent since. edgeHub sends the messages of one priority in order.</summary>
    public bool HasSentQueueOf(MetricsPage earlier) => earlier.Queues.Count > 0 && earlier.Queues.All(queue =>
        queue.Value == 0
        || SentByAll.GetValueOrDefault(queue.Key) - earlier.SentByAll.GetValueOrDefault(queue.Key) > queue.Value);

    /// <summary>Parses a page.</summary>
    /// <param name="page">The text of the page.</param>
    /// <param name="client">Our module as the page names it: <c>DEVICE/MODULE</c>.</param>
    /// <returns>Null when it is not a page of edgeHub.</returns>
    public static MetricsPage? TryParse(string page, string client)
    {
        if (FindInstance(page) is not { } instance) return null;

        // A series is absent until its first increment.
        var received = PrometheusPage.Series(page, "edgehub_messages_received_total");
        var sent = PrometheusPage.Series(page, "edgehub_messages_sent_total");
        var dropped = PrometheusPage.Series(page, "edgehub_messages_dropped_total");
        var queue = PrometheusPage.Series(page, "edgehub_queue_length");
        var upstream = sent.Where(series => Is(series, "to", "upstream")).ToList();
        return new(
            instance,
            Sum(received.Where(series => Is(series, "id", client))),
            Sum(upstream.Where(series => Is(series, "from", client))),
            SumBy("from_route_output", dropped.Where(series =>
                Is(series, "reason", "no_route") && Is(series, "from", client))),
            SumBy("priority", upstream),
            SumBy("priority", queue.Where(series => Is(series, "endpoint", "iothub"))));
    }

    // The label is on every line of edgeHub's own metrics.
    static string? FindInstance(string page)
    {
        foreach (var line in page.AsSpan().EnumerateLines())
        {
            var labels = line.IndexOf('{');
            if (labels < 0 || !line.StartsWith("edgehub_")) continue;
            var instance = PrometheusPage.Label(line[(labels + 1)..].ToString(), "instance_number");
            if (instance is not null) return instance;
        }

        return null;
    }

    static bool Is((string Labels, double Value) series, string label, string value) =>
        PrometheusPage.Label(series.Labels, label) == value;

    static long Sum(IEnumerable<(string Labels, double Value)> series) => (long)series.Sum(one => one.Value);

    static Dictionary<string, long> SumBy(string label, IEnumerable<(string Labels, double Value)> series) => series
        .GroupBy(one => PrometheusPage.Label(one.Labels, label) ?? "")
        .ToDictionary(group => group.Key, Sum);
}
