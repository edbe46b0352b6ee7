namespace SensorForwarder.Buffer;

/// <summary>
/// The bounded in-memory queue between producers and the writer. Producers never wait: when the bound is reached,
/// because the volume is not writable, the oldest reading is dropped, so that the newest survive. Thread-safe.
/// </summary>
/// <param name="maxReadings">Limit of the readings that wait, without those being written.</param>
/// <param name="maxBytes">Limit of their payload bytes.</param>
/// <param name="ledger">Counts the dropped readings.</param>
internal sealed class Ring(int maxReadings, long maxBytes, EvictionLedger ledger, TimeProvider timeProvider)
{
    // With this many bytes pending the writer commits at once: waiting for more readings no longer saves writes.
    const int CommitAtBytes = 256 << 10;

    readonly Lock _gate = new();
    readonly LinkedList<RingGroup> _groups = new();
    Exception? _closed;
    int _readings;
    long _bytes;
    int _inFlight;
    long? _dueAt;
    volatile int _maxGroupBytes = int.MaxValue;

    /// <summary>Limit of the payload bytes of a group, so that each group fits into one transaction.</summary>
    public int MaxGroupBytes
    {
        set => _maxGroupBytes = value;
    }

    public bool IsEmpty
    {
        get
        {
            lock (_gate)
                return _readings == 0;
        }
    }

    /// <summary>Readings not committed yet, including those being written.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _readings + _inFlight;
        }
    }

    /// <summary>Adds a reading.</summary>
    /// <param name="stored">Completed with the id of the reading when it is committed; null: nobody waits.</param>
    /// <param name="wake">Whether to wake the writer: the reading is urgent or the first, or so many bytes are pending
    /// that it commits at once.</param>
    /// <param name="document">Saved in the transaction of the reading; null: none.</param>
    /// <param name="isUrgent">Whether the reading is committed at once.</param>
    public void Add(
        long recordedAtMs, int clockSegment, ReadOnlySpan<byte> payload, TaskCompletionSource<long>? stored,
        out bool wake, (string Name, ReadOnlyMemory<byte> Content)? document = null, bool isUrgent = false)
    {
        lock (_gate)
        {
            if (_closed is not null)
            {
                wake = false;
                stored?.SetException(_closed);
                return;
            }
            var group = _groups.Last?.Value;
            if (group is null || group.IsRequest || group.IsUrgent || isUrgent
                || !group.HasRoom(payload.Length, _maxGroupBytes))
            {
                _groups.AddLast(group = new RingGroup(timeProvider.GetTimestamp()) { IsUrgent = isUrgent });
            }
            if (document is { } saved)
                group.AddDocument(saved);
            if (isUrgent)
                _dueAt = Math.Min(_dueAt ?? long.MaxValue, group.StartedAt);
            wake = isUrgent || _readings == 0
                || (_bytes < CommitAtBytes && _bytes + payload.Length >= CommitAtBytes);
            group.Add(new PendingReading(recordedAtMs, clockSegment, payload.ToArray(), stored));
            _readings++;
            _bytes += payload.Length;
            DropBeyondBounds();
        }
    }

    /// <summary>Adds all readings of a request, in separate groups, or none of them. Requests use at most half of the
    /// ring; the other half is for sensors.</summary>
    /// <param name="within">How soon the readings must be committed.</param>
    /// <param name="document">Saved in the transaction of the last reading; null: none.</param>
    /// <param name="wake">As for <see cref="Add"/>; also when the readings are due before everything else.</param>
    /// <returns>One task per group; null: there is no room now.</returns>
    public List<Task<long>>? TryAddRequest(
        long recordedAtMs, int clockSegment, IReadOnlyList<ReadOnlyMemory<byte>> payloads, TimeSpan within,
        (string Name, ReadOnlyMemory<byte> Content)? document, out bool wake)
    {
        var bytes = payloads.Sum(payload => (long)payload.Length);
        var tasks = new List<Task<long>>();
        lock (_gate)
        {
            wake = false;
            if (_closed is not null)
                throw _closed;
            if (_readings + payloads.Count > maxReadings / 2 || _bytes + bytes > maxBytes / 2)
                return null;
            RingGroup? group = null;
            var now = timeProvider.GetTimestamp();
            foreach (var payload in payloads)
            {
                TaskCompletionSource<long>? stored = null;
                if (group?.HasRoom(payload.Length, _maxGroupBytes) != true)
                {
                    _groups.AddLast(group = new RingGroup(now) { IsRequest = true });
                    // Readings are dropped from the front of a group: if the first is committed, all are.
                    stored = NewTask();
                    tasks.Add(stored.Task);
                }
                group.Add(new PendingReading(recordedAtMs, clockSegment, payload.ToArray(), stored));
            }
            if (document is { } saved)
                group?.AddDocument(saved);
            var due = now + (long)(within.TotalSeconds * timeProvider.TimestampFrequency);
            wake = _readings == 0 || _dueAt is null || due < _dueAt
                || (_bytes < CommitAtBytes && _bytes + bytes >= CommitAtBytes);
            _dueAt = Math.Min(_dueAt ?? long.MaxValue, due);
            _readings += payloads.Count;
            _bytes += bytes;
        }
        return tasks;
    }

    /// <summary>The time until the next transaction is due; null: no reading waits; negative: overdue.</summary>
    public TimeSpan? CommitIn(TimeSpan commitInterval)
    {
        lock (_gate)
        {
            if (_groups.First?.Value is not { } oldest)
                return null;
            if (_bytes >= CommitAtBytes)
                return TimeSpan.Zero;
            var now = timeProvider.GetTimestamp();
            var wait = commitInterval - timeProvider.GetElapsedTime(oldest.StartedAt, now);
            return _dueAt is { } at && timeProvider.GetElapsedTime(now, at) is var due && due < wait ? due : wait;
        }
    }

    /// <summary>Takes groups for one transaction: at least one if any waits, more as long as they fit into
    /// <paramref name="bytes"/>.</summary>
    public List<RingGroup> Take(long bytes)
    {
        var taken = new List<RingGroup>();
        lock (_gate)
        {
            var sum = 0L;
            while (_groups.First?.Value is { } group && (taken.Count == 0 || sum + group.Bytes <= bytes))
            {
                _groups.RemoveFirst();
                taken.Add(group);
                sum += group.Bytes;
                _inFlight += group.Count;
            }
            _readings -= taken.Sum(g => g.Count);
            _bytes -= sum;
            if (_groups.Count == 0)
                _dueAt = null;
        }
        return taken;
    }

    /// <summary>Takes back groups that could not be written, ahead of all others.</summary>
    public void Return(List<RingGroup> groups)
    {
        lock (_gate)
        {
            for (var i = groups.Count - 1; i >= 0; i--)
            {
                _groups.AddFirst(groups[i]);
                _readings += groups[i].Count;
                _inFlight -= groups[i].Count;
                _bytes += groups[i].Bytes;
            }
            DropBeyondBounds();
        }
    }

    /// <summary>The groups are no longer being written: they were committed or refused.</summary>
    public void Done(List<RingGroup> groups)
    {
        lock (_gate)
            _inFlight -= groups.Sum(g => g.Count);
    }

    /// <summary>From now on, <see cref="Add"/> fails.</summary>
    public void Close(Exception reason)
    {
        lock (_gate)
            _closed = reason;
    }

    /// <summary>Fails all readings that are left, after <see cref="Close"/>.</summary>
    /// <returns>Their number.</returns>
    public int FailAll(Exception reason)
    {
        List<RingGroup> left;
        lock (_gate)
        {
            left = [.. _groups];
            _groups.Clear();
            _readings = 0;
            _bytes = 0;
        }
        left.ForEach(g => g.Fail(reason));
        return left.Sum(g => g.Count);
    }

    void DropBeyondBounds()
    {
        // The last reading is kept whatever its size.
        while ((_readings > maxReadings || _bytes > maxBytes) && _readings > 1)
        {
            var group = _groups.First!.Value;
            var payload = group.DropOldest(new BufferRejectedException(
                "dropped from memory: the volume is not writable, and newer readings have filled the space "
                + $"({maxReadings} readings or {maxBytes} bytes)")).Payload;
            _readings--;
            _bytes -= payload.Length;
            if (!group.IsRequest)
                ledger.Note(EvictionLedger.Overflow, EvictionLedger.SensorOf(payload));
            if (group.Count == 0)
                _groups.RemoveFirst();
        }
    }

    /// <summary>Never runs continuations on the writer's thread: they may block.</summary>
    public static TaskCompletionSource<long> NewTask() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
