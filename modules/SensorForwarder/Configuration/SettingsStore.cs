using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Configuration;

/// <summary>
/// Holds the documents that settings come from (the file, and over it the twin) and what is in force. What was accepted
/// is kept in the buffer's database, so that a restart without network goes on with it. Nothing waits for the volume:
/// what is in force is saved with the buffer's next commit, all documents in one transaction, so a start finds them as
/// they were at one time. Thread-safe; documents are taken one after the other.
/// </summary>
internal sealed class SettingsStore(
    SettingsParser parser, SettingsApplier applier, TelemetryBuffer buffer, ILogger<SettingsStore> logger) : IDisposable
{
    const string AcceptedDocument = "settings.accepted";
    const string TwinDocument = "settings.twin";
    const string FileDocument = "settings.file";
    const string RolledBackDocument = "settings.rolledBack";
    const string TrialDocument = "settings.trial";

    // Of the saved twin. The twin's own name for it: earlier versions of this module read that document, too.
    const string VersionKey = "$version";

    const int LoadAttempts = 4;
    static readonly TimeSpan BetweenLoads = TimeSpan.FromMilliseconds(500);

    // All below are changed by whoever has the turn.
    readonly SemaphoreSlim _turn = new(1);
    readonly Dictionary<string, string> _saved = []; // by document, as the buffer has it or was asked to save it
    bool _isLoaded;
    bool _hasFile; // of this run, as the next one: what was loaded stands in until then
    bool _hasTwin;
    JsonObject _file = [];
    JsonObject _twin = [];
    JsonObject _accepted = [];
    RolledBack? _rolledBack;
    long _version;
    long _revision;
    string _complaints = "";
    volatile bool _isForwarding;
    volatile string? _fileProblem;
    volatile ChangeOnTrial? _trial;
    volatile ParsedSettings? _current;

    /// <summary>Other settings are in force, or other ones are refused. Handlers only signal.</summary>
    public event Action? Changed;

    /// <summary>Counts the documents that were taken.</summary>
    public long Revision => Volatile.Read(ref _revision);

    /// <summary>What is in force, and what was refused. Null before the first document was taken.</summary>
    public ParsedSettings? Current => _current;

    /// <summary>The change that is on trial; null: none. A new object when a further change was added.</summary>
    public ChangeOnTrial? Trial => _trial;

    /// <summary>Whether what is forwarded arrives: only then is a change of forwarding put on trial. Set by
    /// <see cref="SettingsTrial"/>.</summary>
    public bool IsForwarding
    {
        set => _isForwarding = value;
    }

    /// <summary>Why the settings file changes nothing now; null: it is in force, or there is none. Set by
    /// <see cref="SettingsFile"/>.</summary>
    public string? FileProblem
    {
        get => _fileProblem;
        set => _fileProblem = value;
    }

    /// <summary>Goes on with what the last run had accepted, and with the file as it is now.</summary>
    /// <param name="file">The settings file, empty when there is none; null when it can't be read, and the last good
    /// one stands in.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task StartAsync(JsonObject? file, CancellationToken cancellationToken) =>
        TakeAsync(() => (_file, _hasFile) = (file ?? _file, file is not null), cancellationToken);

    public Task<ParsedSettings> OfferFileAsync(JsonObject document, CancellationToken cancellationToken) =>
        TakeAsync(() => (_file, _hasFile) = (document, true), cancellationToken);

    /// <param name="desired">All desired properties, without the hub's own.</param>
    /// <param name="version">Their version.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task<ParsedSettings> OfferTwinAsync(JsonObject desired, long version, CancellationToken cancellationToken) =>
        TakeAsync(() => (_twin, _version, _hasTwin) = (desired, version, true), cancellationToken);

    /// <summary>Returns to the values that some keys had before, and refuses what the documents
    /// say for them now.</summary>
    /// <param name="keys">The keys that were changed.</param>
    /// <param name="before">What was accepted before the change.</param>
    /// <param name="reason">Why, for the acknowledgement.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task<ParsedSettings> RollBackAsync(
        IReadOnlyList<string> keys, JsonObject before, string reason, CancellationToken cancellationToken) =>
        TakeAsync(
            () =>
            {
                var document = Merge(_file, _twin);
                _rolledBack =
                    new(reason, new(keys.Select(key => KeyValuePair.Create(key, document[key]?.DeepClone()))));
                var accepted = _accepted.DeepClone().AsObject();
                foreach (var key in keys)
                {
                    if (before[key] is { } value) accepted[key] = value.DeepClone();
                    else accepted.Remove(key);
                }

                _accepted = accepted;
                (_trial, _isForwarding) = (null, false); // what is returned to is not put on trial in turn
            },
            cancellationToken);

    /// <summary>Ends the trial of a change that works, unless a further change was added meanwhile.</summary>
    public async Task EndTrialAsync(ChangeOnTrial passed, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            if (!ReferenceEquals(_trial, passed)) return;
            _trial = null;
            Save();
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>What would become of a patch of the desired properties; nothing is changed.</summary>
    public async Task<ParsedSettings> PreviewAsync(JsonObject patch, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            await LoadAsync(cancellationToken);
            var twin = _twin.DeepClone().AsObject();
            MergePatch.Apply(twin, patch);
            var document = Merge(_file, twin);
            return parser.Parse(document, _accepted, StillRolledBack(document)) with { Version = _version };
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Dispose() => _turn.Dispose();

    async Task<ParsedSettings> TakeAsync(Action replace, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            await LoadAsync(cancellationToken);
            replace();
            var document = Merge(_file, _twin);
            _rolledBack = StillRolledBack(document);
            var parsed = parser.Parse(document, _accepted, _rolledBack) with { Version = _version };
            Complain(parsed);
            await applier.ApplyAsync(parsed.Settings, cancellationToken);
            _trial = TrialAfter(parsed);
            _accepted = parsed.Accepted;
            _current = parsed;
            Interlocked.Increment(ref _revision);
            Save();
            Changed?.Invoke();
            return parsed;
        }
        finally
        {
            _turn.Release();
        }
    }

    RolledBack? StillRolledBack(JsonObject document) => _rolledBack?.StillStandsIn(document) == true
        ? _rolledBack
        : null;

    /// <summary>The trial that is on after a change to these settings.</summary>
    ChangeOnTrial? TrialAfter(ParsedSettings now)
    {
        if (now.Settings.Trial == TimeSpan.Zero) return null;
        if (_current is not { } before || (_trial is null && !_isForwarding)) return _trial;
        var keys = ChangeOnTrial.KeysOf(before.Settings, now.Settings);
        return keys.Count == 0 ? _trial : (_trial ?? new(before.Accepted, new HashSet<string>())).With(keys);
    }

    /// <summary>The twin over the file, key by key, and sensor by sensor.</summary>
    static JsonObject Merge(JsonObject file, JsonObject twin)
    {
        var merged = file.DeepClone().AsObject();
        foreach (var (key, value) in twin)
        {
            if (key == SettingsTable.SensorsKey && value is JsonObject over && merged[key] is JsonObject sensors)
            {
                foreach (var (name, entry) in over) sensors[name] = entry?.DeepClone();
            }
            else
            {
                merged[key] = value?.DeepClone();
            }
        }

        return merged;
    }

    void Complain(ParsedSettings parsed)
    {
        var refused = parsed.Verdicts.Where(verdict => verdict.Error is not null).ToList();
        var notes = parsed.Verdicts.Select(verdict => verdict.Note).OfType<string>().ToList();
        var complaints = string.Join(
            '\n', [.. refused.Select(verdict => verdict.Key + verdict.Error), .. parsed.UnknownKeys, .. notes]);
        if (complaints == _complaints) return;
        _complaints = complaints;
        foreach (var verdict in refused)
        {
            var inForce = verdict.Value?.ToJsonString() ?? "none";
            Log.SettingRefused(logger, verdict.Key, verdict.Error!, LogText.Clean(inForce));
        }

        foreach (var note in notes) Log.SettingNote(logger, note);
        foreach (var message in parsed.UnknownKeys) Log.SettingUnknown(logger, message);
    }

    /// <summary>Loads what the last run left, before the first document is taken: that may be the hub's. While it can't
    /// be read it is tried again with each document, and nothing is saved over it.</summary>
    async Task LoadAsync(CancellationToken cancellationToken)
    {
        for (var attempt = 1; !_isLoaded; attempt++)
        {
            try
            {
                var (accepted, twin, file) = (Load(AcceptedDocument), Load(TwinDocument), Load(FileDocument));
                var (rolledBack, trial) = (Load(RolledBackDocument), Load(TrialDocument));
                _isLoaded = true;
                (_accepted, _rolledBack, _trial) =
                    (accepted, RolledBack.FromJson(rolledBack), ChangeOnTrial.FromJson(trial));
                if (!_hasFile) _file = file;
                if (_hasTwin) return;
                if (twin[VersionKey] is JsonValue value && value.TryGetValue<long>(out var version)) _version = version;
                twin.Remove(VersionKey);
                _twin = twin;
            }
            catch (BufferUnavailableException exception)
            {
                if (_current is null && attempt < LoadAttempts)
                {
                    // A damaged file is salvaged meanwhile.
                    await Task.Delay(BetweenLoads, TimeProvider.System, cancellationToken);
                    continue;
                }

                if (_current is null) Log.SettingsNotLoaded(logger, exception.Message);
                return;
            }
        }
    }

    JsonObject Load(string name)
    {
        var document = buffer.LoadDocument(name) is { } bytes ? DocumentReader.Read(bytes.Span, out _) ?? [] : [];
        _saved[name] = document.ToJsonString();
        return document;
    }

    // Together, and only what has changed: each write costs flash.
    void Save()
    {
        if (!_isLoaded) return;
        var twin = _twin;
        if (_version > 0)
        {
            twin = _twin.DeepClone().AsObject();
            twin[VersionKey] = _version;
        }

        (string Name, JsonObject Document)[] documents =
        [
            (AcceptedDocument, _accepted), (TwinDocument, twin), (FileDocument, _file),
            (RolledBackDocument, _rolledBack?.ToJson() ?? []), (TrialDocument, _trial?.ToJson() ?? []),
        ];
        var changed = new List<(string Name, ReadOnlyMemory<byte> Content)>();
        foreach (var (name, document) in documents)
        {
            var text = document.ToJsonString();
            if (text == _saved.GetValueOrDefault(name, "{}")) continue;
            _saved[name] = text;
            changed.Add((name, Encoding.UTF8.GetBytes(text)));
        }

        if (changed.Count > 0) buffer.SaveDocumentsWithNextCommit([.. changed]);
    }
}
