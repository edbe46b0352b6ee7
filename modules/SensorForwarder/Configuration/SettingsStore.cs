using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Configuration;

/// <summary>
/// Holds the documents that settings come from (the file, and over it the twin) and what is in force. What was accepted
/// is kept in the buffer's database, so that a restart without network goes on with it. Thread-safe; documents are
/// taken one after the other.
/// </summary>
internal sealed class SettingsStore(
    SettingsParser parser, SettingsApplier applier, TelemetryBuffer buffer, ILogger<SettingsStore> logger) : IDisposable
{
    const string AcceptedDocument = "settings.accepted";
    const string TwinDocument = "settings.twin";
    const string FileDocument = "settings.file";
    const string RolledBackDocument = "settings.rolledBack";

    readonly SemaphoreSlim _turn = new(1);
    JsonObject _file = [];
    JsonObject _twin = [];
    JsonObject _accepted = [];
    RolledBack? _rolledBack;
    long _version;
    long _revision;
    string _complaints = "";
    volatile ParsedSettings? _current;

    /// <summary>Other settings are in force, or other ones are refused. Handlers only signal.</summary>
    public event Action? Changed;

    /// <summary>Counts the documents that were taken.</summary>
    public long Revision => Volatile.Read(ref _revision);

    /// <summary>What is in force, and what was refused. Null before <see cref="StartAsync"/>.</summary>
    public ParsedSettings? Current => _current;

    /// <summary>Goes on with what the last run had accepted, and with the file as it is now.</summary>
    /// <param name="file">The settings file, empty when there is none; null when it can't be read, and the last good
    /// one stands in.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task StartAsync(JsonObject? file, CancellationToken cancellationToken)
    {
        _accepted = Load(AcceptedDocument);
        _twin = Load(TwinDocument);
        _file = Load(FileDocument);
        _rolledBack = RolledBack.FromJson(Load(RolledBackDocument));
        await TakeAsync(() => _file = file ?? _file, cancellationToken);
    }

    public Task<ParsedSettings> OfferFileAsync(JsonObject document, CancellationToken cancellationToken) =>
        TakeAsync(() => _file = document, cancellationToken);

    /// <param name="desired">All desired properties, without the hub's own.</param>
    /// <param name="version">Their version.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task<ParsedSettings> OfferTwinAsync(JsonObject desired, long version, CancellationToken cancellationToken) =>
        TakeAsync(() => (_twin, _version) = (desired, version), cancellationToken);

    /// <summary>Returns to the values that some keys had before, and refuses what the documents say for them now.</summary>
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
                _rolledBack = new(reason, new(keys.Select(key => KeyValuePair.Create(key, document[key]?.DeepClone()))));
                var accepted = _accepted.DeepClone().AsObject();
                foreach (var key in keys)
                {
                    if (before[key] is { } value) accepted[key] = value.DeepClone();
                    else accepted.Remove(key);
                }

                _accepted = accepted;
            },
            cancellationToken);

    /// <summary>What would become of a patch of the desired properties; nothing is changed.</summary>
    public async Task<ParsedSettings> PreviewAsync(JsonObject patch, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
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
            var (twinBefore, fileBefore, acceptedBefore, rolledBackBefore) = (_twin, _file, _accepted, _rolledBack);
            replace();
            var document = Merge(_file, _twin);
            _rolledBack = StillRolledBack(document);
            var parsed = parser.Parse(document, _accepted, _rolledBack) with { Version = _version };
            Complain(parsed);
            await applier.ApplyAsync(parsed.Settings, cancellationToken);
            _current = parsed;
            Interlocked.Increment(ref _revision);
            await SaveAsync(AcceptedDocument, acceptedBefore, parsed.Accepted, cancellationToken);
            await SaveAsync(TwinDocument, twinBefore, _twin, cancellationToken);
            await SaveAsync(FileDocument, fileBefore, _file, cancellationToken);
            await SaveAsync(RolledBackDocument, rolledBackBefore?.ToJson() ?? [], _rolledBack?.ToJson() ?? [], cancellationToken);
            _accepted = parsed.Accepted;
            Changed?.Invoke();
            return parsed;
        }
        finally
        {
            _turn.Release();
        }
    }

    RolledBack? StillRolledBack(JsonObject document) => _rolledBack?.StillStandsIn(document) == true ? _rolledBack : null;

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

    JsonObject Load(string name)
    {
        try
        {
            return buffer.LoadDocument(name) is { } bytes && DocumentReader.Read(bytes.Span, out _) is { } document ? document : [];
        }
        catch (BufferUnavailableException)
        {
            return []; // the hub will tell again
        }
    }

    // Not written when nothing changed: each write costs flash.
    async Task SaveAsync(string name, JsonObject before, JsonObject now, CancellationToken cancellationToken)
    {
        var text = now.ToJsonString();
        if (text == before.ToJsonString()) return;
        try
        {
            await buffer.SaveDocumentAsync(name, Encoding.UTF8.GetBytes(text), cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            Log.SettingsNotSaved(logger, exception);
        }
    }
}
