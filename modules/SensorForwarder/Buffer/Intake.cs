namespace SensorForwarder.Buffer;

/// <summary>
/// The bounded ring in memory between producers and the writer. Producers never wait here: when the bound is reached
/// because the volume takes nothing, the oldest waiting reading is given up, so that the newest survive.
/// </summary>
/// <param name="maxReadings">How many readings wait at most, the ones being written not counted.</param>
/// <param name="maxBytes">The same in payload bytes.</param>
internal sealed class Intake(int maxReadings, long maxBytes, TimeProvider timeProvider)
{
    const int MaxGroupBytes = 4 << 20;

    readonly Lock _gate = new();
    readonly LinkedList<IntakeGroup> _groups = new();
    Exception? _closed;
    int _readings;
    long _bytes;
    int _inFlight;

    /// <summary>Called outside the gate with the payload of each reading that is given up.</summary>
    public Action<byte[]>? GivenUp { get; set; }

    /// <summary>Readings that are not on the medium.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _readings + _inFlight;
        }
    }

    /// <param name="wake">Whether the writer has something new to look at: a first reading, or a full transaction.
    /// </param>
    public ValueTask<long> Add(
        long recordedAtMs, int clockSegment, ReadOnlySpan<byte> payload, int wakeAtBytes, out bool wake)
    {
        List<byte[]>? lost = null;
        ValueTask<long> task;
        lock (_gate)
        {
            if (_closed is not null)
            {
                wake = false;
                return ValueTask.FromException<long>(_closed);
            }
            var group = _groups.Last?.Value;
            if (group is null || !group.HasRoom(payload.Length, MaxGroupBytes))
                _groups.AddLast(group = new IntakeGroup(timeProvider.GetTimestamp()));
            wake = _readings == 0 || (_bytes < wakeAtBytes && _bytes + payload.Length >= wakeAtBytes);
            task = new ValueTask<long>(group, (short)group.Add(recordedAtMs, clockSegment, payload));
            _readings++;
            _bytes += payload.Length;
            GiveUpBeyondBounds(ref lost);
        }
        Tell(lost);
        return task;
    }

    /// <summary>Whether readings wait, since when, and how many bytes.</summary>
    public bool TryPeek(out long startedAt, out long bytes)
    {
        lock (_gate)
        {
            bytes = _bytes;
            startedAt = _groups.First?.Value.StartedAt ?? 0;
            return _readings > 0;
        }
    }

    /// <summary>Hands groups to the writer: at least one when any waits, more while they
    /// stay below the bytes.</summary>
    public List<IntakeGroup> Take(long bytes)
    {
        var taken = new List<IntakeGroup>();
        lock (_gate)
        {
            var sum = 0L;
            while (_groups.First?.Value is { } group && (taken.Count == 0 || sum + group.LiveBytes <= bytes))
            {
                _groups.RemoveFirst();
                taken.Add(group);
                sum += group.LiveBytes;
                _inFlight += group.Live;
            }
            _readings -= taken.Sum(g => g.Live);
            _bytes -= sum;
        }
        return taken;
    }

    /// <summary>Takes back what could not be written; it stays first in line.</summary>
    public void Return(List<IntakeGroup> groups)
    {
        List<byte[]>? lost = null;
        lock (_gate)
        {
            for (var i = groups.Count - 1; i >= 0; i--)
            {
                _groups.AddFirst(groups[i]);
                _readings += groups[i].Live;
                _inFlight -= groups[i].Live;
                _bytes += groups[i].LiveBytes;
            }
            GiveUpBeyondBounds(ref lost);
        }
        Tell(lost);
    }

    /// <summary>The groups are on the medium.</summary>
    public void Done(List<IntakeGroup> groups)
    {
        lock (_gate)
            _inFlight -= groups.Sum(g => g.Live);
    }

    /// <summary>No reading is taken from now on.</summary>
    public void Close(Exception reason)
    {
        lock (_gate)
            _closed = reason;
    }

    /// <summary>Fails everything that is left, after <see cref="Close"/>.</summary>
    public int FailAll(Exception reason)
    {
        List<IntakeGroup> left;
        lock (_gate)
        {
            left = [.. _groups];
            _groups.Clear();
            _readings = 0;
            _bytes = 0;
        }
        left.ForEach(g => g.Fail(reason));
        return left.Sum(g => g.Live);
    }

    void GiveUpBeyondBounds(ref List<byte[]>? lost)
    {
        // The last reading stays whatever its size.
        while ((_readings > maxReadings || _bytes > maxBytes) && _readings > 1)
        {
            var group = _groups.First!.Value;
            var payload = group.GiveUpOldest(new BufferRejectedException(
                $"given up: the volume takes nothing and {maxReadings} newer readings wait in memory"));
            _readings--;
            _bytes -= payload.Length;
            (lost ??= []).Add(payload.ToArray());
            if (group.Live == 0)
            {
                _groups.RemoveFirst();
                group.Fail(new BufferRejectedException("given up"));
            }
        }
    }

    void Tell(List<byte[]>? lost)
    {
        if (lost is null)
            return;
        foreach (var payload in lost)
            GivenUp?.Invoke(payload);
    }
}
