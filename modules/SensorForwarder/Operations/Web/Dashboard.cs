using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.Status;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Web;

/// <summary>A file of the page.</summary>
internal sealed record PageFile(string Type, byte[] Content);

/// <summary>
/// Provides the page's files and its JSON. What changes each second is one document that all open pages share; the page
/// requests the rest when its revision changes. Thread-safe.
/// </summary>
internal sealed class Dashboard(
    BootOptions boot, StatusSource source, SettingsStore settings, Health health, Trends trends, RecentEvents events,
    TimeProvider timeProvider)
{
    const int MaxTextLength = 300;

    static readonly TimeSpan SharedFor = TimeSpan.FromMilliseconds(900);

    readonly Lock _gate = new();
    byte[] _now = [];
    long? _writtenAt;

    public bool IsOn => boot.WebDashboard;

    /// <summary>The page and the files that it loads, by path.</summary>
    public IReadOnlyDictionary<string, PageFile> Files { get; } = new Dictionary<string, PageFile>
    {
        ["/"] = Load("index.html", "text/html; charset=utf-8"),
        ["/style.css"] = Load("style.css", "text/css; charset=utf-8"),
        ["/link.js"] = Load("link.js", "text/javascript; charset=utf-8"),
        ["/history.js"] = Load("history.js", "text/javascript; charset=utf-8"),
        ["/page.js"] = Load("page.js", "text/javascript; charset=utf-8"),
        ["/icon.svg"] = Load("icon.svg", "image/svg+xml"),
    };

    /// <summary>The data that change each second. Serialized about once a second, however many clients ask.</summary>
    public byte[] WriteNow()
    {
        lock (_gate)
        {
            if (_writtenAt is { } at && timeProvider.GetElapsedTime(at) < SharedFor) return _now;
            _writtenAt = timeProvider.GetTimestamp();
            var status = source.Capture();
            var checks = health.Live().Checks.Concat(Health.Ready(status).Checks);
            return _now = JsonSerializer.SerializeToUtf8Bytes(
                new PageDocument(status)
                {
                    Device = boot.DeviceId,
                    Module = boot.ModuleId,
                    EventsRevision = events.Revision,
                    HourRevision = trends.Revision,
                    Faults = checks.Where(check => check.Fault is not null)
                        .Select(check => $"{check.Name}: {check.Fault}"),
                },
                StatusJson.Default.PageDocument);
        }
    }

    public byte[] WriteEvents() => JsonSerializer.SerializeToUtf8Bytes(
        new EventsDocument(events.Newest().Select(
            entry => new EventDocument(entry.Time.UtcDateTime, entry.Level.ToString(), entry.Text))),
        PageJson.Default.EventsDocument);

    public byte[] WriteLastHour() => JsonSerializer.SerializeToUtf8Bytes(
        new HourDocument(trends.LastHour().Select(series => new SeriesDocument(
            series.Sensor, series.Value,
            series.Points.Select(point => float.IsFinite(point) ? point : (float?)null)))),
        PageJson.Default.HourDocument);

    /// <summary>The settings in force, and why others were refused.</summary>
    public byte[] WriteSettings()
    {
        var current = settings.Current;
        return JsonSerializer.SerializeToUtf8Bytes(
            new SettingsDocument(
                current?.Version ?? 0,
                (current?.Verdicts ?? []).Select(verdict => new SettingDocument(
                    verdict.Key, Show(verdict), verdict.IsDefault,
                    verdict.Error is { } error ? Shorten(error) : null)),
                (current?.UnknownKeys ?? []).Select(Shorten)),
            PageJson.Default.SettingsDocument);
    }

    static string Show(SettingVerdict verdict)
    {
        var text = verdict.Value is JsonValue value ? value.ToString() : verdict.Value?.ToJsonString() ?? "";
        return Shorten(text);
    }

    static string Shorten(string text) => text.Length <= MaxTextLength ? text : $"{text[..(MaxTextLength - 2)]}..";

    static PageFile Load(string name, string type)
    {
        using var resource = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"{name} is not in the program");
        var content = new byte[resource.Length];
        resource.ReadExactly(content);
        return new(type, content);
    }
}
