using System.Buffers;
using System.Threading.Tasks.Sources;

namespace SensorForwarder.Buffer;

/// <summary>
/// Readings that will be committed together, and the promise to all who wait for them: one object a transaction, not
/// one a reading. The token of a <see cref="ValueTask{T}"/> is the reading's index in the group.
/// Filled under the gate of <see cref="Intake"/>; read by the writer after it was taken; completed once.
/// </summary>
internal sealed class IntakeGroup(long startedAt) : IValueTaskSource<long>
{
    /// <summary>Indices must fit the 16 bits of a token; fewer bound what one give-up or one retry walks through.
    /// </summary>
    public const int MaxReadings = 16_384;

    readonly Lock _gate = new();
    byte[] _arena = ArrayPool<byte>.Shared.Rent(4_096);
    Entry[] _entries = ArrayPool<Entry>.Shared.Rent(64);
    int _arenaLength;
    List<Waiter>? _waiters;
    int _givenUp;
    long _firstId;
    Exception? _failure;
    ValueTaskSourceStatus _status = ValueTaskSourceStatus.Pending;

    readonly record struct Entry(int End, int ClockSegment, long RecordedAtMs);

    readonly record struct Waiter(
        Action<object?> Continuation, object? State, ExecutionContext? Execution, object? Scheduler, int Index);

    /// <summary>When the first reading came in (a timestamp of the time provider).</summary>
    public long StartedAt { get; } = startedAt;

    public int Count { get; private set; }

    /// <summary>Readings at the front that were given up; they are not written any more.</summary>
    public int GivenUp => _givenUp;

    public int Live => Count - _givenUp;

    public int LiveBytes => _arenaLength - Start(_givenUp);

    public bool HasRoom(int payloadBytes, int maxBytes) =>
        Count < MaxReadings && (Count == 0 || _arenaLength + payloadBytes <= maxBytes);

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

    /// <summary>Gives up the oldest reading that is left.</summary>
    /// <returns>Its payload, valid until the group is completed.</returns>
    public ReadOnlySpan<byte> GiveUpOldest(Exception failure)
    {
        var index = _givenUp;
        List<Waiter> released;
        lock (_gate)
        {
            _failure ??= failure;
            _givenUp++;
            released = Release(w => w.Index == index);
        }
        Schedule(released);
        return Payload(index, out _, out _);
    }

    /// <summary>All readings that were not given up are on the medium, with consecutive ids.</summary>
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

    /// <summary>None of the readings that are left will be stored.</summary>
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
                ValueTaskSourceStatus.Succeeded => _firstId + (index - _givenUp),
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

    ValueTaskSourceStatus StatusOf(int index) => index < _givenUp ? ValueTaskSourceStatus.Faulted : _status;

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

    // Never on this thread: it is the writer's, and whoever waits may do anything.
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
                        static w =>
                            Run((Waiter)w!), waiter, CancellationToken.None, TaskCreationOptions.DenyChildAttach,
                        scheduler);
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
