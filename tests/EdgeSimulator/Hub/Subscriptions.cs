using MQTTnet.Protocol;

namespace EdgeSimulator.Hub;

/// <summary>The module's subscriptions. As in edgeHub, they outlive the connection unless the module requests a clean
/// session.
/// Thread-safe.</summary>
internal sealed class Subscriptions
{
    readonly Lock _lock = new();
    readonly Dictionary<string, MqttQualityOfServiceLevel> _filters = new(StringComparer.Ordinal);

    public void Add(string filter, MqttQualityOfServiceLevel quality)
    {
        lock (_lock)
        {
            _filters[filter] = quality;
        }
    }

    public void Remove(string filter)
    {
        lock (_lock)
        {
            _filters.Remove(filter);
        }
    }

    public void Clear()
    {
        lock (_lock)
        {
            _filters.Clear();
        }
    }

    /// <summary>The quality of service granted to exactly this filter. Null: not subscribed.</summary>
    public MqttQualityOfServiceLevel? QualityOf(string filter)
    {
        lock (_lock)
        {
            return _filters.TryGetValue(filter, out var quality) ? quality : null;
        }
    }
}
