using System.Buffers;
using System.Threading.Tasks.Sources;

namespace SensorForwarder.Buffer;

/// <summary>
/// Readings that will be committed together, and the source of the tasks of all their callers: one object per
/// transaction instead of one per reading. The token of a <see cref="ValueTask{T}"/> is the reading's index.
/// Filled under the lock of <see cref="Ring"/>, then read by the writer, completed once. Task members: any thread.
/// </summary>
internal sealed class RingGroup(long startedAt) : IValueTaskSource<long>
{
    /// <summary>Indices must fit into the 16 bits of a token; the lower limit bounds the cost of a drop or a retry.
    /// </summary>
    public const int MaxReadings = 16_384;

    readonly Lock _gate = new();
    byte[] _arena = ArrayPool<byte>.Shared.Rent(4_096);
    Entry[] _entries = ArrayPool<Entry>.Shared.Rent(64);
    int _arenaLength;
    List<Waiter>? _waiters;
    int _dropped;
    long _firstId;
    Exception? _failure;
    ValueTaskSourceStatus _status = ValueTaskSourceStatus.Pending;

    readonly record struct Entry(int End, int ClockSegment, long RecordedAtMs);

    readonly record struct Waiter(
        Action<object?> Continuation, object? State, ExecutionContext? Execution, object? Scheduler, int Index);

    /// <summary>When the first reading was added (a timestamp of the time provider).</summary>
    public long StartedAt { get; } = startedAt;

    /// <summary>Whether these are the readings of one request. Its sender waits, and sends them again if they are not
    /// stored, so a drop is not counted as a loss.</summary>
    public bool IsRequest { get; init; }

    /// <summary>Whether the readings are committed at once and sent before all others.</summary>
    public bool IsUrgent { get; init; }

    /// <summary>Documents to save in the transaction of the readings, in this order; null: none.</summary>
    public List<(string Name, ReadOnlyMemory<byte> Content)>? Documents { get; private set; }

    public int Count { get; private set; }

    /// <summary>Readings dropped from the front; they are not written.</summary>
    public int Dropped => _dropped;

    public int Live => Count - _dropped;

    public int LiveBytes => _arenaLength - Start(_dropped);

    public bool HasRoom(int payloadBytes, int maxBytes) =>
        Count < MaxReadings && (Count == 0 || _arenaLength + payloadBytes <= maxBytes);

    public void Add((string Name, ReadOnlyMemory<byte> Content) document) => (Documents ??= []).Add(document);

    /// <returns>The reading's index.</returns>
    public int Add(long recordedAtMs, int clockSegment, ReadOnlySpan<byte> payload)
    {
        if (_arenaLength + payload.Length > _arena.Length)
            Grow(ref _arena, _arenaLength, _arenaLength + payload.Length);
        if (Count == _entries.Length)
            Grow(ref _entries, Count, Count + 1);
        payload.CopyTo(_arena.AsSpan(_arenaLength));
        _arenaLength += payload.Length;
        _entries[Count] = new Entry(_arenaLength, clockSegment, recordedAtMs);
        return Count++;
    }

    public ReadOnlySpan<byte> Payload(int index, out long recordedAtMs, out int clockSegment)
    {
        var entry = _entries[index];
        recordedAtMs = entry.RecordedAtMs;
        clockSegment = entry.ClockSegment;
        var start = Start(index);
        return _arena.AsSpan(start, entry.End - start);
    }

    /// <summary>Drops the oldest reading and fails its task.</summary>
    /// <returns>Its payload, valid until the group is completed.</returns>
    public ReadOnlySpan<byte> DropOldest(Exception failure)
    {
        var index = _dropped;
        List<Waiter> released;
        lock (_gate)
        {
            _failure ??= failure;
            _dropped++;
            released = Release(w => w.Index == index);
        }
        Schedule(released);
        return Payload(index, out _, out _);
    }

    /// <summary>Completes all tasks: the readings not dropped are committed, with consecutive ids.</summary>
    public void Commit(long firstId)
    {
        List<Waiter> released;
        lock (_gate)
        {
            _firstId = firstId;
            _status = ValueTaskSourceStatus.Succeeded;
            released = Release(static _ => true);
            ReturnMemory();
        }
        Schedule(released);
    }

    /// <summary>Fails all tasks: none of the remaining readings will be stored.</summary>
    public void Fail(Exception failure)
    {
        List<Waiter> released;
        lock (_gate)
        {
            _failure = failure;
            _status = ValueTaskSourceStatus.Faulted;
            released = Release(static _ => true);
            ReturnMemory();
        }
        Schedule(released);
    }

    public ValueTaskSourceStatus GetStatus(short token)
    {
        lock (_gate)
            return StatusOf((ushort)token);
    }

    public long GetResult(short token)
    {
        var index = (ushort)token;
        lock (_gate)
        {
            return StatusOf(index) switch
            {
                ValueTaskSourceStatus.Succeeded => _firstId + (index - _dropped),
                ValueTaskSourceStatus.Pending =>
                    throw new InvalidOperationException("The reading is not committed yet."),
                _ => throw _failure!,
            };
        }
    }

    public void OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags)
    {
        var execution = flags.HasFlag(ValueTaskSourceOnCompletedFlags.FlowExecutionContext)
            ? ExecutionContext.Capture()
            : null;
        var scheduler = flags.HasFlag(ValueTaskSourceOnCompletedFlags.UseSchedulingContext) ? CurrentScheduler() : null;
        var waiter = new Waiter(continuation, state, execution, scheduler, (ushort)token);
        lock (_gate)
        {
            if (StatusOf((ushort)token) == ValueTaskSourceStatus.Pending)
            {
                (_waiters ??= []).Add(waiter);
                return;
            }
        }
        Schedule([waiter]);
    }

    ValueTaskSourceStatus StatusOf(int index) => index < _dropped ? ValueTaskSourceStatus.Faulted : _status;

    int Start(int index) => index == 0 ? 0 : _entries[index - 1].End;

    void ReturnMemory()
    {
        ArrayPool<byte>.Shared.Return(_arena);
        ArrayPool<Entry>.Shared.Return(_entries);
        (_arena, _entries) = ([], []);
    }

    List<Waiter> Release(Predicate<Waiter> which)
    {
        if (_waiters is null)
            return [];
        var released = _waiters.FindAll(which);
        _waiters.RemoveAll(which);
        return released;
    }

    static object? CurrentScheduler()
    {
        if (SynchronizationContext.Current is { } context && context.GetType() != typeof(SynchronizationContext))
            return context;
        return TaskScheduler.Current == TaskScheduler.Default ? null : TaskScheduler.Current;
    }

    // Never runs continuations on this thread: it is usually the writer's, and a continuation may block.
    static void Schedule(List<Waiter> waiters)
    {
        foreach (var waiter in waiters)
        {
            switch (waiter.Scheduler)
            {
                case SynchronizationContext context:
                    context.Post(static w => Run((Waiter)w!), waiter);
                    break;
                case TaskScheduler scheduler:
                    _ = Task.Factory.StartNew(
                        static w => Run((Waiter)w!), waiter, CancellationToken.None,
                        TaskCreationOptions.DenyChildAttach, scheduler);
                    break;
                default:
                    ThreadPool.UnsafeQueueUserWorkItem(static w => Run(w), waiter, preferLocal: false);
                    break;
            }
        }
    }

    static void Run(Waiter waiter)
    {
        if (waiter.Execution is { } execution)
            ExecutionContext.Run(execution, static w => Continue((Waiter)w!), waiter);
        else
            Continue(waiter);
    }

    static void Continue(Waiter waiter) => waiter.Continuation(waiter.State);

    static void Grow<T>(ref T[] array, int used, int needed)
    {
        var larger = ArrayPool<T>.Shared.Rent(Math.Max(needed, array.Length * 2));
        array.AsSpan(0, used).CopyTo(larger);
        ArrayPool<T>.Shared.Return(array);
        array = larger;
    }
}
