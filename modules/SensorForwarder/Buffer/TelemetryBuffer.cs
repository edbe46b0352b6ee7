using Microsoft.Extensions.Logging;
using SensorForwarder.Sensors;

namespace SensorForwarder.Buffer;

/// <summary>
/// The durable queue: readings are committed to one SQLite file before anything else happens to them, wait there in
/// order, and leave it when they are acknowledged. Ids count up from 1 inside an epoch and never name two readings.
/// Any number of producers; one reader (the Forwarder). README.md has the format and the guarantees.
/// </summary>
internal sealed class TelemetryBuffer : IAsyncDisposable
{
    // What one call moves between queue and dead letters in one transaction.
    const int DeadLetterPiece = 1_000;

    // Enough readings for a transaction worth starting before the commit interval has passed.
    const int WakeAtBytes = 256 << 10;

    readonly BufferOptions _options;
    readonly TimeProvider _timeProvider;
    readonly WriterParts _parts;
    readonly BufferWriter _writer;
    readonly BatchReader _reader;
    readonly DatabaseFile _file;
    readonly ILogger _logger;
    readonly CancellationTokenSource _closing = new();
    readonly Task _check;
    readonly PendingSalvage _pending;
    Task _salvage;
    int _givesUpLetters; // told once, until somebody makes room
    long _deadLettered;
    int _disposed;

    TelemetryBuffer(
        BufferOptions options, TimeProvider timeProvider, ILogger logger, WriterParts parts, QueueStore store,
        DatabaseFile file)
    {
        _options = options;
        _timeProvider = timeProvider;
        _parts = parts;
        _file = file;
        _logger = logger;
        _writer = new BufferWriter(store, file, parts, options.Limits, timeProvider, logger)
        {
            Committed = () => Committed?.Invoke(),
            CommitTook = took => CommitTook?.Invoke(took),
        };
        _reader = new BatchReader(parts.Clock, file.OpenReader, _writer.ReportDamage, file.NewCipher());
        _pending = new PendingSalvage(file, () => _writer.Limits, Submit, timeProvider, logger);
        _salvage = Task.CompletedTask;
        _writer.Replaced = () =>
        {
            _reader.Reconnect();
            ReadingsReturned?.Invoke();
            _salvage = SalvageAsync(after: _salvage);
        };
        parts.Intake.GivenUp = payload =>
            parts.Ledger.Note(EvictionLedger.Overflow, EvictionLedger.SensorOf(payload));
        _writer.Start();
        _salvage = SalvageAsync(after: Task.CompletedTask);
        _check = file.NeedsCheck ? Task.Run(CheckFile) : Task.CompletedTask;
    }

    /// <summary>Raised on the writer's thread after each commit that added readings. Handlers only signal.</summary>
    public event Action? Committed;

    /// <summary>Raised when rows appeared at ids that a reader may have passed: dead letters that were returned, or a
    /// damaged file that was salvaged while it was open, which has a new <see cref="Epoch"/>. Handlers only signal.
    /// </summary>
    public event Action? ReadingsReturned;

    /// <summary>Raised on the writer's thread with the time that each transaction took. Handlers only count.</summary>
    public event Action<TimeSpan>? CommitTook;

    /// <summary>Turns of the writer's loop: it moves soon after <see cref="Nudge"/> while the loop lives.</summary>
    public long Turns => _writer.Turns;

    /// <summary>A random id, made with the file. Readings keep their ids when a damaged file is salvaged under a new
    /// epoch, so an acknowledgement that was on its way still means the same readings.</summary>
    public string Epoch => _writer.Epoch;

    /// <summary>The highest id on the medium; 0 before the first reading.</summary>
    public long LastCommittedId => _writer.Snapshot.Marks.LastId;

    /// <summary>Opens or creates <c>telemetry.db</c> in the directory.</summary>
    /// <exception cref="BufferUnavailableException">The volume can't be used now.</exception>
    public static Task<TelemetryBuffer> OpenAsync(
        BufferOptions options, TimeProvider timeProvider, ILogger<TelemetryBuffer> logger,
        CancellationToken cancellationToken) =>
        Task.Run(() => Open(options, timeProvider, logger), cancellationToken);

    /// <summary>Whether the directory holds a file that was made with a key; not when it can't be told.</summary>
    public static bool IsEncrypted(string directory) =>
        DatabaseFile.IsEncrypted(new VolumeFiles(Path.GetFullPath(directory), null));

    /// <summary>Stores a reading. Completes with its id when it is on the medium.</summary>
    /// <param name="cancellationToken">Ends the waiting; the reading itself stays in line.</param>
    /// <exception cref="BufferRejectedException">It was not stored, and will not be.</exception>
    /// <exception cref="BufferUnavailableException">The buffer was closed before it could be stored.</exception>
    public ValueTask<long> EnqueueAsync(Reading reading, CancellationToken cancellationToken)
    {
        var payload = ReadingEncoder.Encode(reading);
        if (payload.Length > ReadingEncoder.MaxPayloadBytes || _writer.IsRejecting)
            return ValueTask.FromException<long>(Refuse(payload));
        var task = _parts.Intake.Add(
            reading.Time.ToUnixTimeMilliseconds(), _parts.Clock.Current().Id, payload, WakeAtBytes, out var wake);
        if (wake)
            _writer.Wake();
        return cancellationToken.CanBeCanceled && !task.IsCompleted
            ? new ValueTask<long>(task.AsTask().WaitAsync(cancellationToken))
            : task;
    }

    /// <summary>Reads up to <paramref name="maxCount"/> rows after an id, in id order.</summary>
    /// <param name="maxBytes">What their payloads may sum to; the first row is returned whatever its size.</param>
    /// <returns>Empty at the end of the queue.</returns>
    public IReadOnlyList<BufferedReading> PeekBatch(long afterId, int maxCount, int maxBytes) =>
        _reader.PeekBatch(afterId, maxCount, maxBytes);

    /// <summary>Another reader, for somebody who reads much and must not hold the forwarder up.</summary>
    /// <exception cref="BufferUnavailableException">The file can't be opened now.</exception>
    public BatchReader NewReader()
    {
        try
        {
            return new(_parts.Clock, _file.OpenReader, _writer.ReportDamage, _file.NewCipher());
        }
        catch (SqliteFailure failure)
        {
            if (failure.IsDamage)
                _writer.ReportDamage(failure.Message);
            throw BatchReader.Unavailable(failure);
        }
    }

    /// <summary>Deletes the rows of an id range. The task completes when that is committed, which waits up to the
    /// commit interval for company; nobody needs to await it.</summary>
    public Task AcknowledgeAsync(long firstId, long lastId, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstId, lastId);
        var task = _parts.Requests.Add(new Acknowledgement(firstId, lastId), out var wake);
        if (wake)
            _writer.Wake();
        return task.WaitAsync(cancellationToken);
    }

    /// <summary>Takes a reading that a receiver refused for good out of the queue, and keeps it with the answer.
    /// A row that is not there is left alone. Beyond the bound the oldest letter is given up: a queue that could not
    /// get rid of what nobody takes would stand still.</summary>
    public async Task DeadLetterAsync(long id, string reason, string? answer, CancellationToken cancellationToken)
    {
        var givenUp = await Submit(
            store => store.MoveToDeadLetters(id, reason, answer, _timeProvider.GetUtcNow().ToUnixTimeMilliseconds())
                ? Evictor.BoundDeadLetters(store, _options.MaxDeadLetters)
                : (int?)null, cancellationToken);
        if (givenUp is not null)
            Interlocked.Increment(ref _deadLettered);
        if (givenUp > 0 && Interlocked.Exchange(ref _givesUpLetters, 1) == 0)
            Log.GivesUpLetters(_logger, _options.MaxDeadLetters);
    }

    public IReadOnlyList<DeadLetter> ListDeadLetters(long afterId, int maxCount) =>
        _reader.ListDeadLetters(afterId, maxCount);

    /// <summary>Puts all dead letters back into the queue, under their ids.</summary>
    /// <param name="cancellationToken">Ends the waiting; the readings come back all the same.</param>
    /// <returns>How many.</returns>
    public Task<int> RetryDeadLettersAsync(CancellationToken cancellationToken)
    {
        Volatile.Write(ref _givesUpLetters, 0);
        return InPieces(store => store.ReturnDeadLetters(DeadLetterPiece), cancellationToken,
            () => ReadingsReturned?.Invoke());
    }

    /// <summary>Deletes all dead letters.</summary>
    /// <param name="cancellationToken">Ends the waiting; they are deleted all the same.</param>
    /// <returns>How many.</returns>
    public Task<int> PurgeDeadLettersAsync(CancellationToken cancellationToken)
    {
        Volatile.Write(ref _givesUpLetters, 0);
        return InPieces(store => store.RemoveDeadLetters(DeadLetterPiece), cancellationToken);
    }

    /// <summary>A document as it was last saved; null when there is none of that name.</summary>
    public ReadOnlyMemory<byte>? LoadDocument(string name) => _reader.LoadDocument(name);

    /// <summary>Saves a small document in the same file. Durable when the task completes.</summary>
    public Task SaveDocumentAsync(
        string name, ReadOnlyMemory<byte> document, CancellationToken cancellationToken) =>
        Submit(store =>
        {
            store.SaveDocument(name, document.Span);
            return true;
        }, cancellationToken);

    /// <summary>Saves small documents, all of them in the next transaction; returns at once. They wait for that as long
    /// as the commit interval at most, so they cost no commit of their own while readings come, and they are never
    /// committed after a reading that was enqueued later. While the volume rejects writes they wait in memory, the
    /// newest under each name.</summary>
    public void SaveDocumentsWithNextCommit(params ReadOnlySpan<(string Name, ReadOnlyMemory<byte> Content)> documents)
    {
        _parts.Requests.Add(documents, out var wake);
        if (wake)
            _writer.Wake();
    }

    /// <summary>Keeps a short text without secrets, in place of the one before. It is written with the next transaction
    /// that comes anyway, on a page that acknowledgements write too, and never before those that were asked for
    /// earlier; <see cref="CommitAsync"/> writes it at once.</summary>
    /// <param name="note">Called on the writer's thread.</param>
    public void KeepNote(Func<string> note) => _parts.Requests.Note = note;

    /// <summary>The note as it was last written; null when there is none. One of another epoch is gone.</summary>
    public string? LoadNote() => _reader.LoadNote();

    /// <summary>Lets the writer look at the world once; it writes nothing because of that.</summary>
    public void Nudge() => _writer.Wake();

    public void ApplyLimits(BufferLimits limits) => _writer.ApplyLimits(limits);

    /// <summary>Commits everything that was handed over so far.</summary>
    public Task CommitAsync(CancellationToken cancellationToken) => Submit(static _ => true, cancellationToken);

    /// <summary>Reads the whole file in search of damage, beside the work; minutes for a big one. What is found is
    /// salvaged at once.</summary>
    /// <returns>The first fault; null when there is none.</returns>
    /// <exception cref="BufferUnavailableException">The volume can't be read now, or the buffer was closed.</exception>
    public Task<string?> CheckAsync() => Task.Run(() =>
    {
        try
        {
            return Check();
        }
        catch (SqliteFailure failure)
        {
            throw new BufferUnavailableException(
                $"{_file.Files.Database}: can't be checked ({failure.Message})", failure);
        }
    });

    /// <summary>Cheap; any thread.</summary>
    public BufferStatus GetStatus()
    {
        var isRefusing = _writer.IsRejecting && _parts.Health.State == StorageState.Ok;
        var snapshot = _writer.Snapshot;
        var givesUp = isRefusing ? WhenFull.RejectNew : snapshot.GivesUp;
        var marks = snapshot.Marks;
        var (fileBytes, walBytes) = _parts.Upkeep.Measure();
        var isEmpty = marks.Depth == 0;
        return new BufferStatus
        {
            Depth = marks.Depth,
            InMemory = _parts.Intake.Count,
            OldestRecordedAt = isEmpty ? null : TimeRepair.Moment(marks.FirstRecordedAtMs),
            OldestAge = isEmpty ? null : _parts.Clock.Age(marks.FirstRecordedAtMs, marks.FirstClock),
            FileBytes = fileBytes,
            MaxBytes = fileBytes + Math.Min(Math.Max(0, _writer.Limits.MaxBytes - fileBytes), _file.Files.FreeBytes),
            WalBytes = walBytes,
            Storage = isRefusing ? StorageState.Refusing : _parts.Health.State,
            StorageReason = _parts.Health.Reason
                ?? (givesUp is { } what
                    ? $"the buffer has reached its {_writer.Limits.MaxBytes >> 20} MB: {BufferStatus.Describe(what)}"
                    : null),
            GivesUp = givesUp,
            ClockSynchronized = _parts.Clock.Current().Synchronized,
            Evicted = _parts.Ledger.Totals,
            DeadLetters = marks.DeadLetters,
            DeadLettered = Volatile.Read(ref _deadLettered),
            Salvage = _file.Salvage,
            Commits = snapshot.Commits,
            CommittedReadings = snapshot.Readings,
            CommittedBytes = snapshot.Bytes,
            WriteFailures = _parts.Health.TotalFailures,
        };
    }

    /// <summary>Commits what waits, copies the WAL back, closes the files.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _closing.CancelAsync();
        await _check;
        await Task.Run(_writer.Dispose);
        await _salvage;
        _reader.Dispose();
        _closing.Dispose();
    }

    static TelemetryBuffer Open(BufferOptions options, TimeProvider timeProvider, ILogger logger)
    {
        SqliteConnection.CheckVersion();
        var files = new VolumeFiles(Path.GetFullPath(options.Directory), options.OnVolumeOperation);
        var file = new DatabaseFile(files, options, timeProvider, logger);
        QueueStore? store = null;
        try
        {
            store = file.Open(damage: null, minLastId: 0);
            var clock = new ReadingClock(
                timeProvider, options.KernelTime ?? KernelTime.For(timeProvider), store.LoadClocks());
            var parts = new WriterParts(
                new Intake(options.RingReadings, options.RingBytes, timeProvider), new WriterRequests(timeProvider),
                clock, new EvictionLedger(), new StorageUpkeep(files, timeProvider),
                new StorageHealth(files.Database, timeProvider));
            var buffer = new TelemetryBuffer(options, timeProvider, logger, parts, store, file);
            Log.Opened(logger, files.Database, buffer.Epoch, store.Marks.Depth);
            return buffer;
        }
        catch (Exception e) when (e is SqliteFailure or IOException or UnauthorizedAccessException)
        {
            store?.Dispose();
            throw new BufferUnavailableException(
                $"{files.Database}: can't be opened ({e.Message}); {VolumeAccess.Explain(files.Directory)}", e);
        }
    }

    // A big file that was not closed properly: what is wrong with it, if anything, comes out while it works.
    void CheckFile()
    {
        Log.Checking(_logger, _file.Files.Database);
        try
        {
            if (Check() is null)
                Log.CheckedWhole(_logger, _file.Files.Database);
        }
        catch (SqliteFailure)
        {
            // Closed meanwhile, or the volume is away: nothing is known against the file.
        }
    }

    string? Check()
    {
        try
        {
            var fault = _file.Check(_closing.Token);
            if (fault is not null)
                _writer.ReportDamage(fault);
            return fault;
        }
        catch (SqliteFailure failure) when (failure.IsDamage)
        {
            _writer.ReportDamage(failure.Message);
            return failure.Message;
        }
    }

    // A big file that was damaged: its readings come in while new ones are stored.
    async Task SalvageAsync(Task after)
    {
        await after.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        try
        {
            if (await _pending.RunAsync(_closing.Token))
                ReadingsReturned?.Invoke();
        }
        catch (Exception e) when (e is OperationCanceledException or BufferUnavailableException)
        {
            // The buffer closes; the next start goes on.
        }
    }

    BufferRejectedException Refuse(ReadOnlySpan<byte> payload)
    {
        _parts.Ledger.Note(EvictionLedger.Rejected, EvictionLedger.SensorOf(payload));
        return payload.Length > ReadingEncoder.MaxPayloadBytes
            ? new BufferRejectedException(
                $"a reading of {payload.Length} bytes is larger than {ReadingEncoder.MaxPayloadBytes}")
            : BufferWriter.Rejection();
    }

    // What was begun is gone through with: who does not wait any longer can't know what of it was done.
    Task<int> InPieces(Func<QueueStore, int> piece, CancellationToken cancellationToken, Action? afterwards = null)
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

    Task<T> Submit<T>(Func<QueueStore, T> run, CancellationToken cancellationToken)
    {
        var task = _parts.Requests.Add(new WriterCommand<T>(run));
        _writer.Wake();
        return task.WaitAsync(cancellationToken);
    }
}
