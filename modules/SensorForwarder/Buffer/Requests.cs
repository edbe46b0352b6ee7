using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>A change that the writer executes in its next transaction. It is executed again if the transaction fails,
/// and completed when the transaction is synced.</summary>
internal abstract class WriterCommand
{
    public abstract void Run(Store store);

    public abstract void Complete();

    public abstract void Fail(Exception failure);
}

internal sealed class WriterCommand<T>(Func<Store, T> run) : WriterCommand
{
    readonly TaskCompletionSource<T> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    T? _result;

    public Task<T> Task => _completion.Task;

    public override void Run(Store store) => _result = run(store);

    public override void Complete() => _completion.TrySetResult(_result!);

    public override void Fail(Exception failure) => _completion.TrySetException(failure);
}

/// <summary>The new state of acknowledged readings.</summary>
internal enum StateChange
{
    /// <summary>edgeHub accepted them but has not confirmed delivery.</summary>
    HandedOver,

    /// <summary>The receiver has them.</summary>
    Delivered,

    /// <summary>They were lost on the way, and return to waiting.</summary>
    GivenBack,
}

/// <summary>A change of the state of readings, and the task that completes when it is committed.</summary>
internal sealed record Acknowledgement(IdSet Ids, StateChange Change)
{
    public TaskCompletionSource Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>The pending work of the writer other than readings: acknowledgements, commands, documents and the note.
/// Thread-safe.</summary>
internal sealed class Requests(TimeProvider timeProvider)
{
    // With this many acknowledged readings the writer commits at once, which bounds the size of a transaction.
    const long UrgentReadings = 20_000;

    // Acknowledgements wait longer than readings, to share a commit with new readings: a sensor read once a minute
    // then costs one commit per reading, not two. The price: after a power cut those readings are sent again.
    const int AcknowledgementIntervals = 90;
    static readonly TimeSpan AcknowledgementPatience = TimeSpan.FromSeconds(90);

    readonly Lock _gate = new();
    List<WriterCommand> _commands = [];
    List<Acknowledgement> _acknowledgements = [];
    long _acknowledgedReadings;
    long _acknowledgedAt;
    Dictionary<string, ReadOnlyMemory<byte>> _documents = [];
    long _documentsAt;
    Exception? _closed;
    volatile Func<string>? _note;
    volatile IdSet _leaving = IdSet.Empty;

    /// <summary>The source of the note that each transaction writes; null leaves the stored note unchanged.</summary>
    public Func<string>? Note
    {
        get => _note;
        set => _note = value;
    }

    public Task Add(Acknowledgement acknowledgement, out bool wake)
    {
        lock (_gate)
        {
            wake = false;
            if (_closed is not null)
                return Task.FromException(_closed);
            if (_acknowledgements.Count == 0)
            {
                _acknowledgedAt = timeProvider.GetTimestamp();
                wake = true;
            }
            _acknowledgements.Add(acknowledgement);
            _leaving = acknowledgement.Change == StateChange.GivenBack
                ? _leaving.Except(acknowledgement.Ids)
                : _leaving.Union(acknowledgement.Ids);
            var before = _acknowledgedReadings;
            _acknowledgedReadings += acknowledgement.Ids.Count;
            wake |= before < UrgentReadings && _acknowledgedReadings >= UrgentReadings;
            return acknowledgement.Completion.Task;
        }
    }

    public Task<T> Add<T>(WriterCommand<T> command)
    {
        lock (_gate)
        {
            if (_closed is not null)
                return Task.FromException<T>(_closed);
            _commands.Add(command);
            return command.Task;
        }
    }

    /// <summary>Adds documents to the next transaction. Of several with one name the newest is saved; those of one call
    /// are saved together.</summary>
    public void Add(ReadOnlySpan<(string Name, ReadOnlyMemory<byte> Content)> documents, out bool wake)
    {
        lock (_gate)
        {
            wake = _documents.Count == 0 && _closed is null;
            if (_closed is not null)
                return;
            if (wake)
                _documentsAt = timeProvider.GetTimestamp();
            foreach (var (name, content) in documents)
                _documents[name] = content;
        }
    }

    /// <summary>The time until the next transaction is due; null: nothing is pending; negative: overdue.</summary>
    public TimeSpan? CommitIn(TimeSpan commitInterval)
    {
        lock (_gate)
        {
            if (_commands.Count > 0 || _acknowledgedReadings >= UrgentReadings)
                return TimeSpan.Zero;
            TimeSpan? waitsFor = null;
            if (_documents.Count > 0)
                waitsFor = commitInterval - timeProvider.GetElapsedTime(_documentsAt);
            if (_acknowledgements.Count > 0)
            {
                var patience = TimeSpan.FromTicks(Math.Max(commitInterval.Ticks, Math.Min(
                    AcknowledgementPatience.Ticks, commitInterval.Ticks * AcknowledgementIntervals)));
                var wait = patience - timeProvider.GetElapsedTime(_acknowledgedAt);
                waitsFor = waitsFor < wait ? waitsFor : wait;
            }
            return waitsFor;
        }
    }

    /// <summary>Readings delivered or handed over whose acknowledgement is not committed yet.</summary>
    public IdSet Leaving => _leaving;

    /// <summary>Removes the ids of committed acknowledgements from <see cref="Leaving"/>.</summary>
    public void Done(IReadOnlyList<Acknowledgement> acknowledgements)
    {
        lock (_gate)
            _leaving = acknowledgements.Aggregate(_leaving, (leaving, a) => leaving.Except(a.Ids));
    }

    public (List<Acknowledgement> Acknowledgements, List<WriterCommand> Commands) Take(bool withCommands)
    {
        lock (_gate)
        {
            var acknowledgements = _acknowledgements;
            _acknowledgements = [];
            _acknowledgedReadings = 0;
            if (!withCommands)
                return (acknowledgements, []);
            var commands = _commands;
            _commands = [];
            return (acknowledgements, commands);
        }
    }

    public Dictionary<string, ReadOnlyMemory<byte>> TakeDocuments()
    {
        lock (_gate)
        {
            var documents = _documents;
            _documents = [];
            return documents;
        }
    }

    /// <summary>Takes back what could not be committed, ahead of everything pending; a document only if no newer
    /// version of it is pending.</summary>
    public void Return(
        List<Acknowledgement> acknowledgements, List<WriterCommand> commands,
        Dictionary<string, ReadOnlyMemory<byte>> documents)
    {
        lock (_gate)
        {
            _acknowledgements.InsertRange(0, acknowledgements);
            _acknowledgedReadings += acknowledgements.Sum(a => a.Ids.Count);
            _commands.InsertRange(0, commands);
            foreach (var (name, document) in documents)
                _documents.TryAdd(name, document);
        }
    }

    public void Close(Exception reason)
    {
        lock (_gate)
            _closed = reason;
    }

    /// <summary>Fails all pending tasks, after <see cref="Close"/>.</summary>
    public void FailAll(Exception reason)
    {
        var (acknowledgements, commands) = Take(withCommands: true);
        acknowledgements.ForEach(a => a.Completion.TrySetException(reason));
        commands.ForEach(c => c.Fail(reason));
    }
}
