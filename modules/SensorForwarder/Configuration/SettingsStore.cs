using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Readings;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.Configuration;

/// <summary>
/// Owns the settings documents (the file, and the twin that overrides it) and the settings in force. Accepted settings
/// are kept in the buffer's database, so that a restart without network continues with them. No caller waits for the
/// volume: documents are saved with the buffer's next commit, all in one transaction, so the next start finds them
/// consistent. Thread-safe; documents are processed one at a time.
/// </summary>
internal sealed class SettingsStore(
    SettingsParser parser, SettingsApplier applier, TelemetryBuffer buffer, ILogger<SettingsStore> logger) : IDisposable
{
    const string AcceptedDocument = "settings.accepted";
    const string TwinDocument = "settings.twin";
    const string FileDocument = "settings.file";
    const string RolledBackDocument = "settings.rolledBack";
    const string TrialDocument = "settings.trial";

    // The version in the saved twin. Its key is the hub's, which earlier versions of this module expect.
    const string VersionKey = "$version";

    const int LoadAttempts = 4;
    static readonly TimeSpan BetweenLoads = TimeSpan.FromMilliseconds(500);

    // All below are changed only while _turn is held, except _isForwarding and _fileProblem.
    readonly SemaphoreSlim _turn = new(1);
    readonly Dictionary<string, string> _saved = []; // content by document, as last loaded or given to the buffer
    bool _isLoaded;
    bool _hasFile; // false until this run has its own file or twin: _file and _twin are those of the last run
    bool _hasTwin;
    JsonObject _file = [];
    JsonObject _twin = [];
    JsonObject _accepted = [];
    RolledBack? _rolledBack;
    long _version;
    long _revision;
    string _loggedProblems = "";
    volatile bool _isForwarding;
    volatile string? _fileProblem;
    volatile ChangeOnTrial? _trial;
    volatile ParsedSettings? _current;

    /// <summary>The module's tags in the settings that are saved in a buffer's database.</summary>
    /// <param name="load">Loads a document of the database; null: there is none.</param>
    public static Tags SavedTags(Func<string, ReadOnlyMemory<byte>?> load)
    {
        var saved = load(AcceptedDocument) is { } bytes ? DocumentReader.Read(bytes.Span, out _) : null;
        return saved?[SettingsTable.ModuleTags.Name] is { } tags
            && SettingsTable.ModuleTags.TryRead(JsonElement.Parse(tags.ToJsonString()), out var read, out _)
                ? read
                : Tags.None;
    }

    /// <summary>Raised after each document, while the turn is held: handlers must only signal.</summary>
    public event Action? Changed;

    /// <summary>Number of documents taken so far.</summary>
    public long Revision => Volatile.Read(ref _revision);

    /// <summary>The settings in force and what was refused; null before the first document.</summary>
    public ParsedSettings? Current => _current;

    /// <summary>The change on trial; null: none. Replaced by a new object when another change is added.</summary>
    public ChangeOnTrial? Trial => _trial;

    /// <summary>Whether forwarding works; only then is a change of forwarding put on trial. Set by
    /// <see cref="SettingsTrial"/>.</summary>
    public bool IsForwarding
    {
        get => _isForwarding;
        set => _isForwarding = value;
    }

    /// <summary>Why the settings file is ignored; null: it is in force, or there is none. Set by
    /// <see cref="SettingsFile"/>.</summary>
    public string? FileProblem
    {
        get => _fileProblem;
        set => _fileProblem = value;
    }

    /// <summary>Applies the settings that the last run accepted, with the file as it is now.</summary>
    /// <param name="file">The settings file; empty: there is none; null: it can't be read, and the last good one is
    /// used.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    public Task StartAsync(JsonObject? file, CancellationToken cancellationToken) =>
        TakeAsync(() => (_file, _hasFile) = (file ?? _file, file is not null), cancellationToken);

    public Task<ParsedSettings> OfferFileAsync(JsonObject document, CancellationToken cancellationToken) =>
        TakeAsync(() => (_file, _hasFile) = (document, true), cancellationToken);

    /// <param name="desired">All desired properties, without <c>$version</c>.</param>
    /// <param name="version">Their version.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    public Task<ParsedSettings> OfferTwinAsync(JsonObject desired, long version, CancellationToken cancellationToken) =>
        TakeAsync(() => (_twin, _version, _hasTwin) = (desired, version, true), cancellationToken);

    /// <summary>Restores the previous values of some keys, and refuses those that the documents have now.</summary>
    /// <param name="keys">The keys that were changed.</param>
    /// <param name="before">The accepted settings before the change.</param>
    /// <param name="reason">Why, for the acknowledgement.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
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
                (_trial, _isForwarding) = (null, false); // the restored values are not put on trial
            },
            cancellationToken);

    /// <summary>Ends the trial of a change that works, unless another change was added meanwhile.</summary>
    public async Task EndTrialAsync(ChangeOnTrial passed, CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_turn, cancellationToken);
        if (!ReferenceEquals(_trial, passed)) return;
        _trial = null;
        Save();
    }

    /// <summary>The result that a patch of the desired properties would have; changes nothing.</summary>
    public async Task<ParsedSettings> PreviewAsync(JsonObject patch, CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_turn, cancellationToken);
        await LoadAsync(cancellationToken);
        var twin = _twin.DeepClone().AsObject();
        MergePatch.Apply(twin, patch);
        var document = Merge(_file, twin);
        return parser.Parse(document, _accepted, StillRolledBack(document)) with { Version = _version };
    }

    public void Dispose() => _turn.Dispose();

    async Task<ParsedSettings> TakeAsync(Action replace, CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_turn, cancellationToken);
        await LoadAsync(cancellationToken);
        replace();
        var document = Merge(_file, _twin);
        _rolledBack = StillRolledBack(document);
        var parsed = parser.Parse(document, _accepted, _rolledBack) with { Version = _version };
        LogProblems(parsed);
        await applier.ApplyAsync(parsed.Settings, cancellationToken);
        _trial = TrialAfter(parsed);
        _accepted = parsed.Accepted;
        _current = parsed;
        Interlocked.Increment(ref _revision);
        Save();
        Changed?.Invoke();
        return parsed;
    }

    RolledBack? StillRolledBack(JsonObject document) => _rolledBack?.IsStillIn(document) == true
        ? _rolledBack
        : null;

    /// <summary>The trial to run once these settings are in force; null: none.</summary>
    ChangeOnTrial? TrialAfter(ParsedSettings now)
    {
        if (now.Settings.Trial == TimeSpan.Zero) return null;
        if (_current is not { } before || (_trial is null && !_isForwarding)) return _trial;
        var keys = ChangeOnTrial.KeysOf(before.Settings, now.Settings);
        return keys.Count == 0 ? _trial : (_trial ?? new(before.Accepted, new HashSet<string>())).With(keys);
    }

    /// <summary>The file, overridden by the twin key by key, and sensor by sensor.</summary>
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

    void LogProblems(ParsedSettings parsed)
    {
        var refused = parsed.Verdicts.Where(verdict => verdict.Error is not null).ToList();
        var notes = parsed.Verdicts.Select(verdict => verdict.Note).OfType<string>().ToList();
        var problems = string.Join(
            '\n', [.. refused.Select(verdict => verdict.Key + verdict.Error), .. parsed.UnknownKeys, .. notes]);
        if (problems == _loggedProblems) return;
        _loggedProblems = problems;
        foreach (var verdict in refused)
        {
            var inForce = verdict.Value?.ToJsonString() ?? "none";
            ConfigurationLog.SettingRefused(logger, verdict.Key, verdict.Error!, LogText.Clean(inForce));
        }

        foreach (var note in notes) ConfigurationLog.SettingNote(logger, note);
        foreach (var message in parsed.UnknownKeys) ConfigurationLog.SettingUnknown(logger, message);
    }

    /// <summary>Loads the documents that the last run saved, before the first document of this run is taken. If they
    /// can't be read, each document tries again, and nothing is saved until that succeeds.</summary>
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
                    // Time for the salvage of a damaged database.
                    await Task.Delay(BetweenLoads, TimeProvider.System, cancellationToken);
                    continue;
                }

                if (_current is null) ConfigurationLog.SettingsNotLoaded(logger, exception.Message);
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

    // Only the changed documents, in one transaction: each write wears the flash.
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
