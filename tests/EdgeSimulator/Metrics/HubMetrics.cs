using System.Globalization;
using System.Text;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Metrics;

/// <summary>edgeHub's counters for one module and its telemetry, with the names and labels of edgeHub's metrics page
/// (iotedge doc/BuiltInMetrics.md). Thread-safe.</summary>
internal sealed class HubMetrics(ModuleIdentity identity)
{
    // edgeHub adds this label to the metrics that it also sends to Microsoft.
    static readonly (string, string) Telemetry = ("ms_telemetry", "True");

    readonly Lock _lock = new();
    readonly SortedDictionary<string, SortedDictionary<string, double>> _counters = new(StringComparer.Ordinal);
    string _instance = Guid.NewGuid().ToString("D");

    /// <summary>Resets all counters and assigns a new instance number, like a restart of edgeHub.</summary>
    public void Restart()
    {
        lock (_lock)
        {
            _counters.Clear();
            _instance = Guid.NewGuid().ToString("D");
        }
    }

    public void Received(HubTopic.Telemetry from, string output, int bytes)
    {
        Add("edgehub_messages_received_total", 1, ("route_output", output), ("id", Id(from)), Telemetry);
        Add("edgehub_message_size_bytes_sum", bytes, ("id", Id(from)));
        Add("edgehub_message_size_bytes_count", 1, ("id", Id(from)));
    }

    /// <summary>Counts a group of messages that the cloud has acknowledged.</summary>
    /// <param name="from">The sender.</param>
    /// <param name="output">The output of the first message: edgeHub counts the whole group there.</param>
    /// <param name="priority">The priority of the route.</param>
    /// <param name="count">The number of messages.</param>
    public void Sent(HubTopic.Telemetry from, string output, int priority, int count) =>
        Add("edgehub_messages_sent_total", count, ("from", Id(from)), ("to", "upstream"), ("from_route_output", output),
            ("to_route_input", ""), ("priority", Text(priority)), Telemetry);

    /// <param name="reason">edgeHub's label: no_route or ttl_expiry.</param>
    /// <param name="from">The sender.</param>
    /// <param name="output">The output of the message.</param>
    public void Dropped(string reason, HubTopic.Telemetry from, string output) =>
        Add("edgehub_messages_dropped_total", 1, ("reason", reason), ("from", Id(from)), ("from_route_output", output),
            Telemetry);

    public void Offline() => Add("edgehub_offline_count_total", 1, ("id", $"{identity.DeviceId}/$edgeHub"));

    public void Connected() => Add("edgehub_client_connect_success_total", 1, ("id", identity.ClientId));

    public void Refused(string reason) => Add("edgehub_client_connect_failed_total", 1, ("id", identity.ClientId), ("reason", reason));

    public void TwinGot(bool offline) =>
        Add("edgehub_gettwin_total", 1, ("source", offline ? "edge_hub" : "upstream"), ("id", identity.ClientId));

    public void Reported() => Add("edgehub_reported_properties_total", 1, ("target", "edge_hub"), ("id", identity.ClientId));

    public void MethodCalled() => Add("edgehub_direct_methods_total", 1, ("from", "upstream"), ("to", identity.ClientId));

    /// <summary>The page in Prometheus text format 0.0.4.</summary>
    public string Render(IReadOnlyDictionary<int, int> queueLengths)
    {
        var text = new StringBuilder();
        string common;
        lock (_lock)
        {
            common = $"iothub=\"{identity.HubHost}\",edge_device=\"{identity.DeviceId}\",instance_number=\"{_instance}\"";
            foreach (var (name, series) in _counters)
            {
                var family = name.EndsWith("_sum", StringComparison.Ordinal) || name.EndsWith("_count", StringComparison.Ordinal)
                    ? name[..name.LastIndexOf('_')]
                    : name;
                if (!name.EndsWith("_sum", StringComparison.Ordinal))
                {
                    text.Append(CultureInfo.InvariantCulture, $"# TYPE {family} {(family == name ? "counter" : "summary")}\n");
                }

                foreach (var (labels, value) in series)
                {
                    text.Append(CultureInfo.InvariantCulture, $"{name}{{{common}{labels}}} {value}\n");
                }
            }
        }

        text.Append("# TYPE edgehub_queue_length gauge\n");
        foreach (var (priority, length) in queueLengths)
        {
            var labels = Labels(("endpoint", "iothub"), ("priority", Text(priority)), Telemetry);
            text.Append(CultureInfo.InvariantCulture, $"edgehub_queue_length{{{common}{labels}}} {length}\n");
        }

        return text.ToString();
    }

    void Add(string name, double amount, params ReadOnlySpan<(string Name, string Value)> labels)
    {
        var key = Labels(labels);
        lock (_lock)
        {
            if (!_counters.TryGetValue(name, out var series))
            {
                series = new SortedDictionary<string, double>(StringComparer.Ordinal);
                _counters.Add(name, series);
            }

            series[key] = series.GetValueOrDefault(key) + amount;
        }
    }

    static string Labels(params ReadOnlySpan<(string Name, string Value)> labels)
    {
        var text = new StringBuilder();
        foreach (var (name, value) in labels)
        {
            var escaped = value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)
                .Replace("\n", "\\n", StringComparison.Ordinal);
            text.Append(CultureInfo.InvariantCulture, $",{name}=\"{escaped}\"");
        }

        return text.ToString();
    }

    static string Id(HubTopic.Telemetry from) => $"{from.DeviceId}/{from.ModuleId}";

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
