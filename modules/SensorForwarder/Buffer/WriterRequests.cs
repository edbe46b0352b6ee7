namespace SensorForwarder.Buffer;

/// <summary>A change that somebody asks the writer for. Runs inside a transaction, again when that fails; completes
/// when it is committed.</summary>
internal abstract class WriterCommand
{
    public abstract void Run(QueueStore store);

    public abstract void Complete();

    public abstract void Fail(Exception failure);
}

internal sealed class WriterCommand<T>(Func<QueueStore, T> run) : WriterCommand
{
    readonly TaskCompletionSource<T> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    T? _result;

    public Task<T> Task => _completion.Task;

    public override void Run(QueueStore store) => _result = run(store);

    public override void Complete() => _completion.TrySetResult(_result!);

    public override void Fail(Exception failure) => _completion.TrySetException(failure);
}

/// <summary>Rows to delete, and who waits for it.</summary>
internal sealed record Acknowledgement(long FirstId, long LastId)
{
    public TaskCompletionSource Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>What waits for the writer besides readings. Any thread.</summary>
internal sealed class WriterRequests(TimeProvider timeProvider)
{
    // Beyond this the delete is committed without waiting for company: one transaction stays short.
    const long UrgentRows = 20_000;

    readonly Lock _gate = new();
    List<WriterCommand> _commands = [];
    List<Acknowledgement> _acknowledgements = [];
    long _acknowledgedRows;
    long _acknowledgedAt;
    Dictionary<string, ReadOnlyMemory<byte>> _documents = [];
    long _documentsAt;
    Exception? _closed;
    volatile Func<string>? _note;

    /// <summary>A text that goes into the file with the next transaction that comes anyway; null: what stands there
    /// stays.
    /// </summary>
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
            var before = _acknowledgedRows;
            _acknowledgedRows += acknowledgement.LastId - acknowledgement.FirstId + 1;
            wake |= before < UrgentRows && _acknowledgedRows >= UrgentRows;
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

    /// <summary>Takes documents that wait for company; of several under one name the newest is saved. Those of one call
    /// are saved in the same transaction.</summary>
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

    /// <summary>Whether something must be committed now, and else since when something that
    /// can wait has waited.</summary>
    public bool IsUrgent(out long? waitingSince)
    {
        lock (_gate)
        {
            waitingSince = _acknowledgements.Count > 0 ? _acknowledgedAt : null;
            if (_documents.Count > 0)
                waitingSince = Math.Min(waitingSince ?? _documentsAt, _documentsAt);
            return _commands.Count > 0 || _acknowledgedRows >= UrgentRows;
        }
    }

    public (List<Acknowledgement> Acknowledgements, List<WriterCommand> Commands) Take(bool withCommands)
    {
        lock (_gate)
        {
            var acknowledgements = _acknowledgements;
            _acknowledgements = [];
            _acknowledgedRows = 0;
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

    /// <summary>Takes back what could not be committed, where nothing newer has come.</summary>
    public void Return(Dictionary<string, ReadOnlyMemory<byte>> documents)
    {
        lock (_gate)
        {
            foreach (var (name, document) in documents)
                _documents.TryAdd(name, document);
        }
    }

    /// <summary>Takes back what could not be committed; it stays first in line.</summary>
    public void Return(List<Acknowledgement> acknowledgements, List<WriterCommand> commands)
    {
        lock (_gate)
        {
            _acknowledgements.InsertRange(0, acknowledgements);
            _acknowledgedRows += acknowledgements.Sum(a => a.LastId - a.FirstId + 1);
            _commands.InsertRange(0, commands);
        }
    }

    public void Close(Exception reason)
    {
        lock (_gate)
            _closed = reason;
    }

    /// <summary>Fails everything that is left, after <see cref="Close"/>.</summary>
    public void FailAll(Exception reason)
    {
        var (acknowledgements, commands) = Take(withCommands: true);
        acknowledgements.ForEach(a => a.Completion.TrySetException(reason));
        commands.ForEach(c => c.Fail(reason));
    }
}
