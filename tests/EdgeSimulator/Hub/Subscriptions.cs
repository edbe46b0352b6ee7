using MQTTnet.Protocol;

namespace EdgeSimulator.Hub;

/// <summary>What the module has subscribed to. It outlives the connection, as with edgeHub, unless the module asks for a clean session.
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

    /// <summary>The quality of service that was granted to this very filter; null without a subscription.</summary>
    public MqttQualityOfServiceLevel? QualityOf(string filter)
    {
        lock (_lock)
        {
            return _filters.TryGetValue(filter, out var quality) ? quality : null;
        }
    }
}
