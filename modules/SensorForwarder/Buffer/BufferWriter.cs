using Microsoft.Extensions.Logging;

namespace SensorForwarder.Buffer;

/// <summary>
/// The one writer: a thread that owns the only writing connection. It takes what waits (readings, acknowledgements,
/// commands), commits it as one transaction, and completes those who wait. Between transactions it keeps the files in
/// shape. When the volume takes nothing it tries again, and what waits stays in line.
/// </summary>
internal sealed partial class BufferWriter : IDisposable
{
    readonly Intake _intake;
    readonly WriterRequests _requests;
    readonly ReadingClock _clock;
    readonly EvictionLedger _ledger;
    readonly StorageUpkeep _upkeep;
    readonly StorageHealth _health;
    readonly Evictor _evictor;
    readonly DatabaseFile _file;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly AutoResetEvent _wake = new(initialState: false);
    readonly ITimer _timer;
    readonly Thread _thread;

    QueueStore? _store;
    volatile string? _damage;
    volatile BufferLimits _limits;
    volatile bool _stopping;
    long _turns;

    public BufferWriter(
        QueueStore store, DatabaseFile file, WriterParts parts, BufferLimits limits, TimeProvider timeProvider,
        ILogger logger)
    {
        (_intake, _requests, _clock, _ledger, _upkeep, _health) =
            (parts.Intake, parts.Requests, parts.Clock, parts.Ledger, parts.Upkeep, parts.Health);
        _evictor = new Evictor(_clock);
        _store = store;
        _file = file;
        Epoch = ReadEpoch(store);
        _writtenNote = store.GetMeta(QueueStore.NoteName) ?? "";
        _limits = file.Files.OnItsVolume(limits);
        _timeProvider = timeProvider;
        _logger = logger;
        _timer = timeProvider.CreateTimer(
            static writer =>
                ((BufferWriter)writer!)._wake.Set(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _ledger.Reload(store);
        Snapshot = new WriterSnapshot(store.Marks, 0, 0, 0);
        _thread = new Thread(Run) { Name = "buffer writer", IsBackground = true };
    }

    /// <summary>As of the last commit.</summary>
    public WriterSnapshot Snapshot { get; private set; }

    /// <summary>Raised on the writer's thread after each commit that added readings.</summary>
    public Action? Committed { get; set; }

    /// <summary>Told on the writer's thread how long each transaction took.</summary>
    public Action<TimeSpan>? CommitTook { get; set; }

    /// <summary>Times that the loop has looked at the world: it moves after each <see cref="Wake"/>.</summary>
    public long Turns => Volatile.Read(ref _turns);

    public BufferLimits Limits => _limits;

    /// <summary>Of the file that is open; a salvage makes a new one.</summary>
    public string Epoch { get; private set; }

    /// <summary>Raised on the writer's thread when the file was salvaged: readers open the new one.</summary>
    public Action? Replaced { get; set; }

    public void Start() => _thread.Start();

    public void Wake() => _wake.Set();

    public void ApplyLimits(BufferLimits limits)
    {
        _limits = _file.Files.OnItsVolume(limits);
        Wake();
    }

    /// <summary>Somebody met damage in the file: it is salvaged before anything else is written.</summary>
    public void ReportDamage(string what)
    {
        _damage = what;
        Wake();
    }

    /// <summary>Commits what waits, closes the connection, ends the thread.</summary>
    public void Dispose()
    {
        _stopping = true;
        Wake();
        _thread.Join();
        _timer.Dispose();
        // _wake is left to the collector: somebody who came just before the end may still be about to set it.
    }

    void Run()
    {
        while (!_stopping)
        {
            var wait = WorkSafely();
            Volatile.Write(ref _turns, _turns + 1);
            if (_stopping || wait == TimeSpan.Zero)
                continue;
            _timer.Change(wait ?? Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            _wake.WaitOne();
        }
        Finish();
    }

    // One try that catches all: whatever goes wrong, the next attempt starts from the file's own state.
    TimeSpan? WorkSafely()
    {
        try
        {
            return Work();
        }
        catch (Exception e)
        {
            HandleFailure(e);
            return _health.RetryIn();
        }
    }

    /// <returns>When there is something to do again; null waits for a wake-up.</returns>
    TimeSpan? Work()
    {
        if (_health.RetryIn() is var retry && retry > TimeSpan.Zero)
            return retry;
        Reopen();
        if (CommitIn() == TimeSpan.Zero)
            CommitWaiting();
        else if (!_health.IsOk)
            Probe();
        Reclaim();
        EndRejecting();
        Expire();
        EndGivingUp();
        ReclaimRetained();
        _upkeep.KeepReserve(StorageBudget.Of(_limits));
        if (_upkeep.IdleWorkIn() == TimeSpan.Zero && WorkWhenIdle())
            return TimeSpan.Zero;
        return Earliest(
            CommitIn(), _upkeep.IdleWorkIn(), _upkeep.ReserveIn(StorageBudget.Of(_limits)),
            _limits.MaxAge > TimeSpan.Zero || IsRetaining ? AgeCheckInterval : null);
    }

    // Also the place where a file that turned out to be damaged is replaced.
    void Reopen()
    {
        var damage = _damage;
        if (damage is not null)
        {
            _store?.Dispose();
            _store = null;
        }
        if (_store is not null)
            return;
        _store = _file.Open(damage, Snapshot.Marks.LastId);
        _damage = null;
        _ledger.Reload(_store);
        var epoch = ReadEpoch(_store);
        Snapshot = Snapshot with { Marks = _store.Marks };
        if (epoch == Epoch)
            return;
        Epoch = epoch;
        _writtenNote = "";
        Replaced?.Invoke();
    }

    static string ReadEpoch(QueueStore store) =>
        store.Connection.QueryText("SELECT value FROM meta WHERE name = 'epoch'")!;

    void HandleFailure(Exception failure)
    {
        if (failure is SqliteFailure { IsDamage: true })
            _damage = failure.Message;
        if (_health.Failed(failure))
            Log.StorageFailed(_logger, _health.State, _health.Reason!);
        if (_health.State == StorageState.Full)
        {
            if (_upkeep.DropReserve())
                Log.ReserveGivenUp(_logger);
            // A log that is copied back starts over, and needs no more room.
            if (_store is { } store)
                StorageUpkeep.TryCopyBack(store);
        }
        // A connection that failed for a while may hold a file that was unmounted or replaced under it.
        if (_health.Failures >= 3 && _health.State is not StorageState.Full and not StorageState.Busy)
        {
            _store?.Dispose();
            _store = null;
        }
    }

    void Finish()
    {
        var closed = new BufferUnavailableException("the buffer was closed");
        _intake.Close(closed);
        _requests.Close(closed);
        try
        {
            Reopen();
            if (_intake.TryPeek(out _, out _) || _requests.IsUrgent(out var waits) || waits is not null
                || (_requests.Note?.Invoke() ?? _writtenNote) != _writtenNote || _ledger.HasNoted)
            {
                CommitWaiting();
            }
            _upkeep.WhenIdle(_store!);
        }
        catch (Exception e)
        {
            Log.LastCommitFailed(_logger, e.Message);
        }
        var lost = _intake.FailAll(closed);
        _requests.FailAll(closed);
        if (lost > 0)
            Log.LostAtClose(_logger, lost);
        _health.Closed();
        _store?.Dispose();
        _store = null;
    }

    static TimeSpan? Earliest(params ReadOnlySpan<TimeSpan?> times)
    {
        TimeSpan? earliest = null;
        foreach (var time in times)
        {
            if (time is { } t && (earliest is not { } e || t < e))
                earliest = t < TimeSpan.Zero ? TimeSpan.Zero : t;
        }
        return earliest;
    }
}

/// <summary>What the writer works with, made by <see cref="TelemetryBuffer"/>, which shares it.</summary>
internal sealed record WriterParts(
    Intake Intake, WriterRequests Requests, ReadingClock Clock, EvictionLedger Ledger, StorageUpkeep Upkeep,
    StorageHealth Health);

/// <summary>What the writer has done, as of its last commit.</summary>
internal sealed record WriterSnapshot(QueueMarks Marks, long Commits, long Readings, long Bytes)
{
    /// <summary>What gives way since the bound is reached; null: there is room.</summary>
    public WhenFull? GivesUp { get; init; }
}
