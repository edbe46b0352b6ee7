using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;
using SensorForwarder.Time;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>
/// The durable queue and public API of this folder: commits each reading to one SQLite file, keeps it in order of ids,
/// and removes it some time after it was acknowledged. (epoch, id) never identifies two readings. All members are
/// thread-safe; any number of producers, one consumer (the Forwarder). README.md describes format and guarantees.
/// </summary>
internal sealed class TelemetryBuffer : IAsyncDisposable
{
    // Dead letters returned or purged per transaction.
    const int DeadLetterPiece = 1_000;

    // The part of the database that dead letters of other programs may use.
    const long PartForDeadLetters = 8;

    // Free space that SQLite needs to open the file: the WAL index and its first frames.
    const long RoomToOpen = 96 << 10;

    readonly BufferOptions _options;
    readonly TimeProvider _timeProvider;
    readonly WriterParts _parts;
    readonly Writer _writer;
    readonly Reader _reader;
    readonly ProcessLock _lock;
    readonly ILogger _logger;
    readonly CancellationTokenSource _closing = new();
    readonly Task _check;
    readonly Recovery _recovery;
    Task _recovering = Task.CompletedTask;
    int _loggedLetterLimit; // 1: logged that dead letters are at their limit; reset by retry and purge
    long _deadLettered;
    int _disposed;

    TelemetryBuffer(
        BufferOptions options, TimeProvider timeProvider, ILogger logger, WriterParts parts, OpenedStore opened,
        ProcessLock processLock)
    {
        _options = options;
        _timeProvider = timeProvider;
        _parts = parts;
        _lock = processLock;
        _logger = logger;
        _writer = new Writer(opened, parts, options.Limits, timeProvider, logger)
        {
            Committed = () => Committed?.Invoke(),
            CommitTook = took => CommitTook?.Invoke(took),
        };
        _reader = NewReader();
        _recovery = new Recovery(
            parts.File, () => _writer.Limits, Submit, () => ReadingsReturned?.Invoke(), timeProvider, logger);
        _writer.Replaced = () =>
        {
            _reader.Reconnect();
            ReadingsReturned?.Invoke();
            _recovering = RecoverAsync(after: _recovering);
        };
        _recovering = RecoverAsync(after: Task.CompletedTask);
        _writer.Start();
        _check = parts.File.NeedsCheck ? Task.Run(CheckFile) : Task.CompletedTask;
    }

    /// <summary>Raised on the writer's thread after each commit that added readings. Handlers only signal.</summary>
    public event Action? Committed;

    /// <summary>Raised on any thread when readings began to wait at ids that the consumer may already have read past:
    /// returned dead letters, salvaged readings, or a replaced file. Handlers only signal.</summary>
    public event Action? ReadingsReturned;

    /// <summary>Raised on the writer's thread with the duration of each commit. Handlers only count.</summary>
    public event Action<TimeSpan>? CommitTook;

    /// <summary>Iterations of the writer's loop; increases soon after <see cref="Nudge"/> if the loop runs.</summary>
    public long Turns => _writer.Turns;

    /// <summary>The epoch of readings stored from now on: a random id, created when the file was opened. A stored
    /// reading keeps its epoch, so (epoch, id) stays unique even when a copy of the file is restored.</summary>
    public string Epoch => _writer.Snapshot.View.Epochs.Current;

    /// <summary>Whether readings of an old file (damaged, format 1, or unencrypted) are still being copied.</summary>
    public bool IsRecovering => _parts.File.IsRecovering;

    /// <summary>The highest committed id; 0 before the first reading.</summary>
    public long LastCommittedId => _writer.Snapshot.View.State.LastId;

    /// <summary>The waiting ids, and the highest committed id. Excludes ids whose acknowledgement or hand-over is not
    /// committed yet; may include ids of evicted readings.</summary>
    public (IdSet Ids, long LastId) Waiting
    {
        get
        {
            // Leaving is read first: a reading acknowledged in between is then excluded by at least one of the two.
            var (leaving, view) = (_parts.Requests.Leaving, _writer.Snapshot.View);
            var stored = IdSet.Of(view.FirstId, view.State.LastId);
            return (stored.Except(view.State.NotWaiting).Except(leaving), view.State.LastId);
        }
    }

    /// <summary>Readings to be sent before all others, as of the last commit. Read it after <see cref="Waiting"/>; may
    /// include ids that no longer wait.</summary>
    public IdSet Urgent => _writer.Snapshot.View.Urgent;

    /// <summary>The ids in state handed over, as of the last commit.</summary>
    public IdSet HandedOver => _writer.Snapshot.View.State.HandedOver;

    /// <summary>Opens or creates <c>telemetry.db</c> in the directory.</summary>
    /// <exception cref="BufferUnavailableException">The volume can't be used now.</exception>
    public static Task<TelemetryBuffer> OpenAsync(
        BufferOptions options, TimeProvider timeProvider, ILogger<TelemetryBuffer> logger,
        CancellationToken cancellationToken) =>
        Task.Run(() => OpenAsync(options, timeProvider, (ILogger)logger, cancellationToken), cancellationToken);

    /// <summary>Whether the directory's database is encrypted; false when it is missing or unreadable.</summary>
    public static bool IsEncrypted(string directory) =>
        DatabaseFile.IsEncrypted(new VolumeFiles(Path.GetFullPath(directory), null));

    /// <summary>Stores a reading. Completes with its id when it is committed and synced.</summary>
    /// <param name="cancellationToken">Cancels only the wait; the reading is stored anyway.</param>
    /// <exception cref="BufferRejectedException">The reading will not be stored.</exception>
    /// <exception cref="BufferUnavailableException">The buffer was closed before the reading was stored.</exception>
    public ValueTask<long> EnqueueAsync(Reading reading, CancellationToken cancellationToken) =>
        EnqueueAsync(reading, null, cancellationToken);

    /// <summary>Stores a reading, and saves a document in the same transaction: after a kill the file has both or
    /// neither.</summary>
    /// <param name="document">Null: none.</param>
    /// <inheritdoc cref="EnqueueAsync(Reading, CancellationToken)"/>
    public ValueTask<long> EnqueueAsync(
        Reading reading, (string Name, ReadOnlyMemory<byte> Content)? document, CancellationToken cancellationToken)
    {
        var stored = Ring.NewTask();
        Add(reading, document, stored);
        return new(stored.Task.WaitAsync(cancellationToken));
    }

    /// <summary>Stores a reading with the next commit. Cheaper than <see cref="EnqueueAsync(Reading,
    /// CancellationToken)"/>: no task per reading. A reading that will not be stored is counted and reported, until the
    /// buffer is closed.</summary>
    public void Enqueue(Reading reading) => Add(reading, null, null);

    /// <summary>Stores a reading that is committed at once and sent before all others, and saves a document in the same
    /// transaction: after a kill the file has both or neither.</summary>
    /// <param name="stored">Completes as in <see cref="EnqueueAsync"/>.</param>
    /// <returns>False: the buffer accepts no readings now; this one was neither stored nor counted.</returns>
    public bool TryEnqueueUrgent(
        Reading reading, string documentName, ReadOnlyMemory<byte> document, out ValueTask<long> stored)
    {
        stored = default;
        if (_writer.IsRejecting)
            return false;
        var source = Ring.NewTask();
        _parts.Ring.Add(
            reading.Time.ToUnixTimeMilliseconds(), _parts.Clock.Current().Id, ReadingEncoder.Encode(reading), source,
            out var wake, (documentName, document), isUrgent: true);
        if (wake)
            _writer.Wake();
        stored = new(source.Task);
        return !source.Task.IsFaulted;
    }

    /// <summary>Stores the readings of one request of another program, together. Completes when all of them are
    /// committed and synced.</summary>
    /// <param name="payloads">Copied before this returns. Each is a JSON object that begins with the sensor's name and
    /// has its time where <see cref="ReadingEncoder"/> writes them.</param>
    /// <param name="arrivedAt">When they arrived, by the wall clock. The times in the payloads may be others.</param>
    /// <param name="within">How soon they must be committed, if the commit interval is longer.</param>
    /// <param name="cancellationToken">Cancels only the wait; the readings are stored anyway.</param>
    /// <exception cref="BufferRejectedException">Some or all were not stored. They are not counted as lost: the sender
    /// still has them and retries later.</exception>
    /// <exception cref="BufferUnavailableException">The buffer was closed before they were stored.</exception>
    public Task EnqueueRequestAsync(
        IReadOnlyList<ReadOnlyMemory<byte>> payloads, DateTimeOffset arrivedAt, TimeSpan within,
        CancellationToken cancellationToken) =>
        EnqueueRequestAsync(payloads, arrivedAt, within, null, cancellationToken);

    /// <summary>Stores the readings of one request, and saves a document in the transaction of the last one.</summary>
    /// <param name="document">Null: none.</param>
    /// <inheritdoc cref="EnqueueRequestAsync(IReadOnlyList{ReadOnlyMemory{byte}}, DateTimeOffset, TimeSpan,
    /// CancellationToken)"/>
    public async Task EnqueueRequestAsync(
        IReadOnlyList<ReadOnlyMemory<byte>> payloads, DateTimeOffset arrivedAt, TimeSpan within,
        (string Name, ReadOnlyMemory<byte> Content)? document, CancellationToken cancellationToken)
    {
        ThrowIfRejecting();
        var tasks = _parts.Ring.TryAddRequest(
            arrivedAt.ToUnixTimeMilliseconds(), _parts.Clock.Current().Id, payloads, within, document, out var wake)
            ?? throw new BufferRejectedException("too many readings wait in memory to be stored");
        if (wake)
            _writer.Wake();
        foreach (var task in tasks)
            await task.WaitAsync(cancellationToken);
    }

    /// <summary>Reads up to <paramref name="maxCount"/> waiting readings after an id, all of one epoch.</summary>
    /// <param name="maxBytes">Limit of the summed payloads; the first reading is returned whatever its size.</param>
    /// <returns>Empty at the end of the queue.</returns>
    public IReadOnlyList<BufferedReading> PeekBatch(long afterId, int maxCount, int maxBytes) =>
        _reader.PeekBatch(afterId, maxCount, maxBytes);

    /// <summary>A reader with its own connection, so that long reads do not block the forwarder.</summary>
    public History OpenHistory() => new(NewReader(), _parts.Clock);

    /// <summary>Marks readings as delivered. The task completes when that is committed, which is delayed to share a
    /// commit with new readings: 90 commit intervals, at most 90 seconds. Callers need not await it.</summary>
    public Task AcknowledgeAsync(IdSet ids, CancellationToken cancellationToken) =>
        ChangeState(ids, StateChange.Delivered, cancellationToken);

    /// <summary>Marks readings as handed over: edgeHub accepted them but has not confirmed delivery. They are kept and
    /// not sent again.</summary>
    public Task HandOverAsync(IdSet ids, CancellationToken cancellationToken) =>
        ChangeState(ids, StateChange.HandedOver, cancellationToken);

    /// <summary>Returns handed-over readings, and delivered ones still in the file, to waiting.</summary>
    public async Task GiveBackAsync(IdSet ids, CancellationToken cancellationToken)
    {
        await ChangeState(ids, StateChange.GivenBack, cancellationToken);
        ReadingsReturned?.Invoke();
    }

    /// <summary>Moves a reading that the receiver refused permanently to the dead letters, with the receiver's answer.
    /// Does nothing if the reading is not waiting. Beyond <see cref="BufferOptions.MaxDeadLetters"/> the oldest dead
    /// letter is deleted, so that refused readings never block the queue.</summary>
    public async Task DeadLetterAsync(long id, string reason, string? answer, CancellationToken cancellationToken)
    {
        var deleted = await Submit(
            store => store.MoveToDeadLetters(id, reason, answer, _timeProvider.GetUtcNow().ToUnixTimeMilliseconds())
                ? Bounds.BoundDeadLetters(store, _options.MaxDeadLetters)
                : (int?)null, cancellationToken);
        if (deleted is { } count)
            CountDeadLetter(count);
    }

    /// <summary>Adds a payload of another program that can't be a reading to the dead letters. Completes when it is
    /// committed and synced.</summary>
    /// <param name="payload">A JSON object that begins with a sensor's name, as in <see cref="EnqueueRequestAsync"/>.
    /// Must not change.</param>
    /// <param name="arrivedAt">When it arrived, by the wall clock.</param>
    /// <param name="cancellationToken">Cancels only the wait; it is stored anyway.</param>
    /// <exception cref="BufferRejectedException">It was not stored; the sender still has it.</exception>
    /// <exception cref="BufferUnavailableException">The buffer was closed before it was stored.</exception>
    public async Task AddDeadLetterAsync(
        ReadOnlyMemory<byte> payload, DateTimeOffset arrivedAt, string reason, string? answer,
        CancellationToken cancellationToken)
    {
        ThrowIfRejecting();
        var clock = _parts.Clock.Current().Id;
        var arrivedAtMs = arrivedAt.ToUnixTimeMilliseconds();
        CountDeadLetter(await Submit(
            store =>
            {
                store.AddDeadLetter(arrivedAtMs, clock, payload, reason, answer, arrivedAtMs);
                return Bounds.BoundDeadLetters(
                    store, _options.MaxDeadLetters,
                    StorageBudget.Of(_writer.Limits).DatabaseBytes / PartForDeadLetters);
            }, cancellationToken));
    }

    public IReadOnlyList<DeadLetter> ListDeadLetters(long afterId, int maxCount) =>
        _reader.ListDeadLetters(afterId, maxCount);

    /// <summary>Returns all dead letters to the queue, under their ids.</summary>
    /// <param name="cancellationToken">Cancels only the wait; the dead letters are returned anyway.</param>
    /// <returns>The number of dead letters returned.</returns>
    public Task<int> RetryDeadLettersAsync(CancellationToken cancellationToken)
    {
        Volatile.Write(ref _loggedLetterLimit, 0);
        return InPieces(
            store => store.ReturnDeadLetters(DeadLetterPiece, StorageBudget.Of(_writer.Limits).TransactionBytes),
            cancellationToken, () => ReadingsReturned?.Invoke());
    }

    /// <summary>Deletes all dead letters.</summary>
    /// <param name="cancellationToken">Cancels only the wait; the dead letters are deleted anyway.</param>
    /// <returns>The number of dead letters deleted.</returns>
    public Task<int> PurgeDeadLettersAsync(CancellationToken cancellationToken)
    {
        Volatile.Write(ref _loggedLetterLimit, 0);
        return InPieces(store => store.DeleteDeadLetters(DeadLetterPiece), cancellationToken);
    }

    /// <summary>The last saved content of a document; null when it does not exist.</summary>
    public ReadOnlyMemory<byte>? LoadDocument(string name) => _reader.LoadDocument(name);

    /// <summary>The document names that begin with a prefix.</summary>
    /// <exception cref="BufferUnavailableException">The volume can't be read now.</exception>
    public IReadOnlyList<string> DocumentNames(string prefix) => _reader.DocumentNames(prefix);

    /// <summary>Saves a small document in the database. Durable when the task completes.</summary>
    public Task SaveDocumentAsync(
        string name, ReadOnlyMemory<byte> document, CancellationToken cancellationToken) =>
        Submit(store =>
        {
            store.Records.SaveDocument(name, document.Span);
            return true;
        }, cancellationToken);

    /// <summary>Saves small documents, all in the next transaction; returns at once. The transaction follows within one
    /// commit interval, so documents share a commit with new readings, and are never committed after a reading that was
    /// enqueued later. While the volume is not writable, the newest version of each waits in memory.</summary>
    public void SaveDocumentsWithNextCommit(params ReadOnlySpan<(string Name, ReadOnlyMemory<byte> Content)> documents)
    {
        _parts.Requests.Add(documents, out var wake);
        if (wake)
            _writer.Wake();
    }

    /// <summary>Sets the source of a short text that is part of the queue's state. Each transaction writes the current
    /// text, never before acknowledgements requested earlier. A changed text alone causes no transaction; use
    /// <see cref="CommitAsync"/> to write it at once.</summary>
    /// <param name="note">Called on the writer's thread.</param>
    public void KeepNote(Func<string> note) => _parts.Requests.Note = note;

    /// <summary>The last committed note; empty when there is none.</summary>
    public string LoadNote() => _writer.Snapshot.View.State.Note;

    /// <summary>Wakes the writer's loop without causing a commit; see <see cref="Turns"/>.</summary>
    public void Nudge() => _writer.Wake();

    public void ApplyLimits(BufferLimits limits) => _writer.ApplyLimits(limits);

    /// <summary>Commits everything enqueued so far.</summary>
    public Task CommitAsync(CancellationToken cancellationToken) => Submit(static _ => true, cancellationToken);

    /// <summary>Checks the whole file for damage in the background, and starts a salvage if there is any. Takes minutes
    /// for a large file.</summary>
    /// <returns>The first fault; null when there is none.</returns>
    /// <exception cref="BufferUnavailableException">The volume is not readable, or the buffer was closed.</exception>
    public Task<string?> CheckAsync() => Task.Run(() =>
    {
        try
        {
            return Check();
        }
        catch (Exception failure)
            when (failure is SqliteException or OperationCanceledException or ObjectDisposedException)
        {
            throw new BufferUnavailableException(
                $"{_parts.File.Files.Database}: can't be checked ({failure.Message})", failure);
        }
    });

    /// <summary>A snapshot of the status. Cheap: reads no database.</summary>
    public BufferStatus GetStatus()
    {
        var (health, files, clock) = (_parts.Health, _parts.File.Files, _parts.Clock);
        var isRefusing = _writer.IsRejecting && health.State == StorageState.Ok;
        // Leaving is read first: a reading acknowledged in between is in both, and not counted as waiting.
        var (leaving, snapshot) = (_parts.Requests.Leaving, _writer.Snapshot);
        var fullAction = isRefusing ? WhenFull.RejectNew : _writer.FullAction;
        var (fileBytes, walBytes) = _parts.Upkeep.Measure();
        var state = snapshot.View.State;
        leaving = leaving.Except(state.NotWaiting).Intersect(IdSet.Of(snapshot.View.FirstId, state.LastId));
        var depth = Math.Max(0, state.Waiting - leaving.Count);
        var oldest = depth > 0 ? snapshot.View.Oldest : null;
        return new BufferStatus
        {
            Depth = depth,
            InMemory = _parts.Ring.Count,
            OldestRecordedAt = oldest?.RecordedAt,
            OldestAge = oldest is { } o ? clock.Age(o.RecordedAt.ToUnixTimeMilliseconds(), o.Clock) : null,
            FileBytes = fileBytes,
            MaxBytes = fileBytes + Math.Max(0, Math.Min(
                _writer.Limits.MaxBytes - fileBytes, files.FreeBytes - _writer.Limits.KeepFreeBytes)),
            WalBytes = walBytes,
            UsedBytes = snapshot.UsedBytes,
            Stored = state.Stored,
            Storage = isRefusing ? StorageState.Refusing : health.State,
            StorageReason = health.Reason
                ?? (fullAction is { } what
                    ? $"the buffer has reached {_writer.Bound}: {BufferStatus.Describe(what)}"
                    : null),
            FullAction = fullAction,
            ClockSynchronized = clock.Current().Synchronized,
            Evicted = _parts.Ledger.Totals,
            DeadLetters = snapshot.View.DeadLetters,
            DeadLettered = Volatile.Read(ref _deadLettered),
            Salvage = _parts.File.Salvage,
            Commits = snapshot.Commits,
            CommittedReadings = snapshot.Readings,
            CommittedBytes = snapshot.Bytes,
            WriteFailures = health.TotalFailures,
        };
    }

    /// <summary>Commits everything pending, checkpoints the WAL and closes the files.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _closing.CancelAsync();
        await _check;
        // SQLite deletes the WAL only when the last connection closes, and that must be the writer's.
        _reader.Dispose();
        await Task.Run(_writer.Dispose);
        await _recovering;
        _lock.Dispose();
        _closing.Dispose();
    }

    static async Task<TelemetryBuffer> OpenAsync(
        BufferOptions options, TimeProvider timeProvider, ILogger logger, CancellationToken cancellationToken)
    {
        Sqlite.CheckVersion();
        VolumeFiles.SurviveFileSizeLimit();
        var files = new VolumeFiles(Path.GetFullPath(options.Directory), options.OnVolumeOperation);
        ProcessLock? processLock = null;
        OpenedStore? opened = null;
        try
        {
            files.CreateDirectory();
            processLock = await ProcessLock.TakeAsync(files, timeProvider, cancellationToken);
            var file = new DatabaseFile(files, options, timeProvider, logger);
            opened = Open(file);
            var clock = new ReadingClock(
                timeProvider, options.KernelTime ?? KernelTime.For(timeProvider), opened.Store.Records.LoadClocks());
            var ledger = new EvictionLedger();
            var parts = new WriterParts(
                new Ring(options.RingReadings, options.RingBytes, ledger, timeProvider), new Requests(timeProvider),
                clock, ledger, new Upkeep(files, timeProvider),
                new StorageHealth(files.Database, timeProvider), file);
            var buffer = new TelemetryBuffer(options, timeProvider, logger, parts, opened, processLock);
            BufferLog.Opened(logger, files.Database, buffer.Epoch, opened.Store.View.State.Waiting);
            return buffer;
        }
        catch (Exception e)
        {
            opened?.Dispose();
            processLock?.Dispose();
            if (e is SqliteException or IOException or UnauthorizedAccessException)
                throw new BufferUnavailableException(
                    $"{files.Database}: can't be opened ({e.Message}); {Explain(e, files)}", e);
            throw;
        }
    }

    // SQLite recreates the WAL index when it opens the file: on a full volume the reserve makes room for that.
    static OpenedStore Open(DatabaseFile file)
    {
        try
        {
            return file.Open(damage: null, minLastId: 0);
        }
        catch (SqliteException) when (file.Files.FreeBytes < RoomToOpen && File.Exists(file.Files.Reserve))
        {
            file.Files.Delete(file.Files.Reserve);
            return file.Open(damage: null, minLastId: 0);
        }
    }

    static string Explain(Exception failure, VolumeFiles files)
    {
        if (files.FreeBytes < RoomToOpen)
            return "the volume is full; free some of it";
        var isWithoutLocks = failure is SqliteException
        {
            SqliteExtendedErrorCode: raw.SQLITE_IOERR_LOCK or raw.SQLITE_IOERR_SHMOPEN or raw.SQLITE_IOERR_SHMMAP
                or raw.SQLITE_IOERR_SHMLOCK or raw.SQLITE_IOERR_SHMSIZE or raw.SQLITE_PROTOCOL,
        };
        return isWithoutLocks
            ? "its file system has no locks or no shared memory (CIFS, 9p, some NFS); set Buffer__Directory to a local "
                + "disk"
            : VolumeAccess.Explain(files.Directory);
    }

    // Checks a large file that was not closed cleanly, in the background.
    void CheckFile()
    {
        BufferLog.Checking(_logger, _parts.File.Files.Database);
        try
        {
            if (Check() is null)
                BufferLog.CheckedWhole(_logger, _parts.File.Files.Database);
        }
        catch (Exception failure) when (failure is SqliteException or OperationCanceledException)
        {
            // The buffer was closed, or the volume is unavailable: neither means damage.
        }
    }

    string? Check()
    {
        var generation = _parts.File.Generation;
        var fault = _parts.File.Check(_closing.Token);
        if (fault is not null)
            _writer.ReportDamage(Sqlite.Damage(fault), generation);
        return fault;
    }

    // Copies readings of old files while new readings are stored.
    async Task RecoverAsync(Task after)
    {
        await after.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        try
        {
            await _recovery.RunAsync(_closing.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or BufferUnavailableException)
        {
            // The buffer was closed; the next start resumes the salvage.
        }
    }

    Reader NewReader() => new(_parts.Clock, _parts.File, () => _writer.Snapshot.View, _writer.ReportDamage);

    Task ChangeState(IdSet ids, StateChange change, CancellationToken cancellationToken)
    {
        if (ids.IsEmpty)
            return Task.CompletedTask;
        var task = _parts.Requests.Add(new Acknowledgement(ids, change), out var wake);
        if (wake)
            _writer.Wake();
        return task.WaitAsync(cancellationToken);
    }

    void ThrowIfRejecting()
    {
        if (_writer.IsRejecting)
            throw Room.Rejection();
        if (_parts.Health.State is not (StorageState.Ok or StorageState.Closed))
            throw new BufferRejectedException($"the volume is not writable: {_parts.Health.Reason}");
    }

    void CountDeadLetter(int deleted)
    {
        Interlocked.Increment(ref _deadLettered);
        if (deleted > 0 && Interlocked.Exchange(ref _loggedLetterLimit, 1) == 0)
            BufferLog.DeadLettersFull(_logger, _options.MaxDeadLetters);
    }

    void Add(
        Reading reading, (string Name, ReadOnlyMemory<byte> Content)? document, TaskCompletionSource<long>? stored)
    {
        var payload = ReadingEncoder.Encode(reading);
        if (payload.Length > ReadingEncoder.MaxPayloadBytes || _writer.IsRejecting)
        {
            var refusal = Refuse(payload);
            stored?.SetException(refusal);
            return;
        }

        _parts.Ring.Add(
            reading.Time.ToUnixTimeMilliseconds(), _parts.Clock.Current().Id, payload, stored, out var wake, document);
        if (wake)
            _writer.Wake();
    }

    BufferRejectedException Refuse(ReadOnlySpan<byte> payload)
    {
        _parts.Ledger.Note(EvictionLedger.Rejected, EvictionLedger.SensorOf(payload));
        return payload.Length > ReadingEncoder.MaxPayloadBytes
            ? new BufferRejectedException(
                $"a reading of {payload.Length} bytes is larger than {ReadingEncoder.MaxPayloadBytes}")
            : Room.Rejection();
    }

    // Cancellation ends only the caller's wait: the operation must not be left half done.
    Task<int> InPieces(Func<Store, int> piece, CancellationToken cancellationToken, Action? afterwards = null)
    {
        return RunAsync().WaitAsync(cancellationToken);

        async Task<int> RunAsync()
        {
            var sum = 0;
            try
            {
                while (await Submit(piece, CancellationToken.None) is var done and > 0)
                    sum += done;
                return sum;
            }
            finally
            {
                if (sum > 0)
                    afterwards?.Invoke();
            }
        }
    }

    Task<T> Submit<T>(Func<Store, T> run, CancellationToken cancellationToken)
    {
        var task = _parts.Requests.Add(new WriterCommand<T>(run));
        _writer.Wake();
        return task.WaitAsync(cancellationToken);
    }
}
