using SensorForwarder.Buffer;

namespace SensorForwarder.Intake;

/// <summary>All sources since the start, and the names of their sensors. Both are bounded. Thread-safe.</summary>
internal sealed class IntakeSources(IntakeOptions options, TimeProvider timeProvider)
{
    /// <summary>The most sources that are counted and limited separately; further senders share the source
    /// <see cref="Others"/>.</summary>
    public const int MaxSources = 50;

    /// <summary>The most sensor names that are kept; further names are ignored.</summary>
    public const int MaxSensors = 200;

    public const string Others = "other sources";

    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly Dictionary<string, IntakeSource> _sources = new(StringComparer.Ordinal);

    // Never modified: replaced under _gate, read by any thread.
    volatile SortedSet<string> _sensors = new(StringComparer.Ordinal);

    /// <summary>The state of all sources, ordered by name.</summary>
    public IReadOnlyList<IntakeSourceStatus> Status
    {
        get
        {
            lock (_gate)
                return [.. _sources.Values.Select(source => source.Status)
                    .OrderBy(status => status.Name, StringComparer.Ordinal)];
        }
    }

    /// <summary>Names of sensors whose readings were stored, sorted.</summary>
    public IReadOnlyCollection<string> Sensors => _sensors;

    /// <summary>Finds a source, or adds it.</summary>
    /// <param name="name">The entry and the sender.</param>
    /// <param name="maxSilence">How long the source may be silent; null: as configured for all sources.</param>
    public IntakeSource Find(string name, TimeSpan? maxSilence = null)
    {
        lock (_gate)
        {
            if (!_sources.ContainsKey(name) && _sources.Count >= MaxSources) (name, maxSilence) = (Others, null);
            return _sources.GetValueOrDefault(name) ?? (_sources[name] = new(name, options, timeProvider)
            {
                MaxSilence = maxSilence ?? options.MaxSilence,
            });
        }
    }

    /// <summary>Removes a source, except <see cref="Others"/>.</summary>
    public void Forget(IntakeSource source)
    {
        lock (_gate)
        {
            if (source.Name != Others && _sources.GetValueOrDefault(source.Name) == source)
                _sources.Remove(source.Name);
        }
    }

    /// <summary>Adds the sensors of stored payloads to <see cref="Sensors"/>.</summary>
    public void NoteSensors(PayloadList payloads)
    {
        var known = _sensors;
        if (known.Count >= MaxSensors) return;
        SortedSet<string>? more = null;
        ReadOnlySpan<byte> before = default;
        for (var i = 0; i < payloads.Count && known.Count + (more?.Count ?? 0) < MaxSensors; i++)
        {
            // Consecutive payloads of a request are usually of the same sensor.
            var payload = payloads[i].Span;
            if (payload.StartsWith(before) && !before.IsEmpty) continue;
            var name = EvictionLedger.SensorOf(payload);
            before = payload[..(payload.IndexOf("\",\"kind\":"u8) + 1)];
            if (!known.Contains(name)) (more ??= new(StringComparer.Ordinal)).Add(name);
        }

        if (more is null) return;
        lock (_gate) _sensors = new(_sensors.Union(more, StringComparer.Ordinal), StringComparer.Ordinal);
    }
}
