using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Configuration;

/// <summary>A value is not allowed for a setting; the message says what it was and what is allowed.</summary>
internal sealed class SettingException(string message) : Exception(message);

/// <summary>One setting: everything that the parser, the acknowledgements and the documentation know about it.</summary>
/// <param name="Key">Its name at the root of the document.</param>
/// <param name="Allowed">What is allowed, for people.</param>
/// <param name="Text">What it does.</param>
/// <param name="Set">Takes a value over. Throws <see cref="SettingException"/>.</param>
/// <param name="Get">The value in force, as it would stand in a document.</param>
internal sealed record SettingDefinition(
    string Key,
    string Allowed,
    string Text,
    Func<Settings, JsonElement, Settings> Set,
    Func<Settings, JsonNode?> Get)
{
    /// <summary>Where the default comes from, if it is no constant.</summary>
    public string? DefaultSource { get; init; }
}

/// <summary>Every setting there is, but for <c>sensors</c>, whose entries <see cref="SensorsParser"/> reads one by one.
/// The only place that knows keys, ranges and texts.</summary>
internal static class SettingsTable
{
    public const string SensorsKey = "sensors";
    const int MaxUrlLength = 2048;

    public static IReadOnlyList<SettingDefinition> All { get; } =
    [
        Choice("sink", "Where batches go.",
            [("iothub", SinkKind.IotHub), ("http", SinkKind.Http)],
            s => s.Forwarding.Sink, (s, v) => s with { Forwarding = s.Forwarding with { Sink = v } })
            with { DefaultSource = "`iothub` with an edge identity, else `http`" },
        new("httpEndpoint", "absolute http or https URL without user and password", "Receiver of the `http` sink; secrets belong into `Http__Authorization`.",
            (s, v) => s with { Forwarding = s.Forwarding with { HttpEndpoint = ReadEndpoint(v) } },
            s => s.Forwarding.HttpEndpoint?.ToString())
            { DefaultSource = "`Http__Endpoint`" },
        Integer("batchSize", 1, 10_000, "Readings in a batch at most.",
            s => s.Forwarding.BatchSize, (s, v) => s with { Forwarding = s.Forwarding with { BatchSize = v } }),
        Integer("batchMaxBytes", 1024, HttpSink.LargestBodyBytes, "Bytes of a batch at most, before compression; IoT Hub takes 245760 whatever stands here.",
            s => s.Forwarding.BatchMaxBytes, (s, v) => s with { Forwarding = s.Forwarding with { BatchMaxBytes = v } }),
        Seconds("uploadIntervalSeconds", 0, 86_400, "A batch that is not full leaves when its oldest reading is this old; 0: at once.",
            s => s.Forwarding.UploadInterval, (s, v) => s with { Forwarding = s.Forwarding with { UploadInterval = v } }),
        Integer("maxInFlightBatches", 1, 64, "Batches under way to IoT Hub at once.",
            s => s.Forwarding.MaxInFlightBatches, (s, v) => s with { Forwarding = s.Forwarding with { MaxInFlightBatches = v } }),
        Choice("compression", "Compression of the body, `http` only.",
            [("none", BatchCompression.None), ("gzip", BatchCompression.Gzip)],
            s => s.Forwarding.Compression, (s, v) => s with { Forwarding = s.Forwarding with { Compression = v } }),
        Choice("messageFormat", "`pnp`: each reading is a message of its own, as the Plug and Play model in `modules/SensorForwarder/model` describes it; `iothub` only.",
            [("batch", MessageFormat.Batch), ("pnp", MessageFormat.Pnp)],
            s => s.Forwarding.MessageFormat, (s, v) => s with { Forwarding = s.Forwarding with { MessageFormat = v } }),
        Choice("drainOrder", "`oldestFirst`: strictly in order. `liveFirst`: new readings never wait for a backlog, which follows beside them.",
            [("oldestFirst", DrainOrder.OldestFirst), ("liveFirst", DrainOrder.LiveFirst)],
            s => s.Forwarding.DrainOrder, (s, v) => s with { Forwarding = s.Forwarding with { DrainOrder = v } }),
        Integer("backfillBatchesPerMinute", 0, 6_000, "Batches of the backlog in a minute at most, with `liveFirst`; 0: no limit.",
            s => s.Forwarding.BackfillBatchesPerMinute, (s, v) => s with { Forwarding = s.Forwarding with { BackfillBatchesPerMinute = v } }),
        Integer("dailyMessageLimit", 0, 1_000_000_000, "Messages in a day (UTC) at most as IoT Hub bills them, each begun 4 KB is one; the backlog is paced so that new readings have their share; 0: no limit.",
            s => s.Forwarding.DailyMessageLimit, (s, v) => s with { Forwarding = s.Forwarding with { DailyMessageLimit = v } }),
        Integer("commitIntervalMs", 0, 60_000, "Readings are written together this often: what a power cut can cost, and what spares the flash; 0: each by itself.",
            s => (int)s.Buffer.CommitInterval.TotalMilliseconds,
            (s, v) => s with { Buffer = s.Buffer with { CommitInterval = TimeSpan.FromMilliseconds(v) } }),
        Integer("bufferMaxMegabytes", 1, 1_048_576, "What the buffer may take on the volume.",
            s => (int)(s.Buffer.MaxBytes >> 20), (s, v) => s with { Buffer = s.Buffer with { MaxBytes = (long)v << 20 } }),
        Integer("bufferMaxAgeHours", 0, 1_000_000, "Readings older than this are given up; 0: no limit.",
            s => (int)s.Buffer.MaxAge.TotalHours, (s, v) => s with { Buffer = s.Buffer with { MaxAge = TimeSpan.FromHours(v) } }),
        Choice("whenFull", "What makes room when the buffer is full.",
            [("thin", WhenFull.Thin), ("dropOldest", WhenFull.DropOldest), ("rejectNew", WhenFull.RejectNew)],
            s => s.Buffer.WhenFull, (s, v) => s with { Buffer = s.Buffer with { WhenFull = v } }),
        Seconds("pollIntervalSeconds", SensorsParser.MinIntervalSeconds, 86_400, "Interval of sensors that have no `intervalSeconds` of their own.",
            s => s.PollInterval, (s, v) => s with { PollInterval = v }),
        Choice("logLevel", "Least level of log lines.",
            [.. Enum.GetValues<LogLevel>().Select(level => (level.ToString(), level))],
            s => s.LogLevel, (s, v) => s with { LogLevel = v })
            with { DefaultSource = "`RuntimeLogLevel`" },
    ];

    public static bool TryReadEndpoint(string text, [NotNullWhen(true)] out Uri? endpoint) =>
        Uri.TryCreate(text, UriKind.Absolute, out endpoint)
        && endpoint.Scheme is "http" or "https" && endpoint.UserInfo.Length == 0 && endpoint.Host.Length > 0 && text.Length <= MaxUrlLength;

    /// <summary>The start of a value as it was given, for messages.</summary>
    public static string Show(JsonElement value) => LogText.Clean(value.GetRawText()) is { Length: > 60 } text
        ? text[..60] + "..."
        : LogText.Clean(value.GetRawText());

    /// <summary>A number within bounds, or a <see cref="SettingException"/> that tells them.</summary>
    public static double ReadNumber(JsonElement value, double min, double max, string allowed)
    {
        if (value.ValueKind == JsonValueKind.String)
            throw new SettingException($"{Show(value)} is text; allowed is {allowed}, without quotes");
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out var number)
            || !double.IsFinite(number) || number < min || number > max)
        {
            throw new SettingException($"{Show(value)} is not allowed; allowed is {allowed}");
        }

        return number;
    }

    static Uri ReadEndpoint(JsonElement value) =>
        value.ValueKind == JsonValueKind.String && TryReadEndpoint(value.GetString()!, out var endpoint)
            ? endpoint
            : throw new SettingException($"{Show(value)} is not allowed; allowed is an absolute http or https URL without user and password");

    static SettingDefinition Integer(
        string key, int min, int max, string text, Func<Settings, int> get, Func<Settings, int, Settings> set)
    {
        var allowed = $"{min}..{max}";
        return new(key, allowed, text, Set, s => get(s));

        Settings Set(Settings settings, JsonElement value)
        {
            var number = ReadNumber(value, min, max, $"an integer from {min} to {max}");
            // 50.0 is what some tools make of 50.
            return number == Math.Floor(number)
                ? set(settings, (int)number)
                : throw new SettingException($"{Show(value)} is not an integer; allowed is an integer from {min} to {max}");
        }
    }

    static SettingDefinition Seconds(
        string key, double min, double max, string text, Func<Settings, TimeSpan> get, Func<Settings, TimeSpan, Settings> set)
    {
        var (low, high) = (min.ToString(CultureInfo.InvariantCulture), max.ToString(CultureInfo.InvariantCulture));
        return new(
            key, $"{low}..{high}", text,
            (s, v) => set(s, TimeSpan.FromSeconds(ReadNumber(v, min, max, $"a number from {low} to {high}"))),
            s => get(s).TotalSeconds);
    }

    static SettingDefinition Choice<T>(
        string key, string text, (string Name, T Value)[] choices, Func<Settings, T> get, Func<Settings, T, Settings> set)
        where T : struct, Enum
    {
        var names = string.Join(", ", choices.Select(c => $"`{c.Name}`"));
        return new(key, names, text, Set, s => choices.First(c => c.Value.Equals(get(s))).Name);

        Settings Set(Settings settings, JsonElement value)
        {
            foreach (var (name, choice) in choices)
            {
                if (value.ValueKind == JsonValueKind.String && value.ValueEquals(name)) return set(settings, choice);
            }

            throw new SettingException($"{Show(value)} is not allowed; allowed is {names.Replace('`', '\'')}");
        }
    }
}
