using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations.Doctor;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>
/// What somebody far away can ask for; <see cref="MethodTable"/> describes it. Every answer is a JSON object; one that
/// is no success has <c>error</c>, a sentence. Payloads are objects; none or null is an empty one.
/// </summary>
internal sealed class DirectMethods(
    TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, SettingsStore settings, StatusWriter status,
    TimeProvider timeProvider)
{
    const double MaxTimeoutSeconds = 300;
    const double StandardTimeoutSeconds = 20;
    const int MaxDeadLettersShown = 100;
    const int MaxBodyShownLength = 1000;

    readonly Lock _lock = new();
    // guarded by _lock; the one that runs, or has ended and was not asked for
    Task<(string? Fault, TimeSpan Took)>? _check;

    /// <summary>Answers one call. 400: the payload is wrong; 404: no such sensor; 501: no such method.</summary>
    public async Task<MethodAnswer> InvokeAsync(
        string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        var answer = await AnswerAsync(name, payload, cancellationToken);
        return answer.Body.Length <= StatusWriter.MaxAnswerBytes
            ? answer
            : answer with
            {
                Body = AnswerSize.Limit(
                    answer.Body, StatusWriter.MaxAnswerBytes, json => HowToGetTheRest(name, json)),
            };
    }

    async Task<MethodAnswer> AnswerAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        try
        {
            if (ReadPayload(payload.Span, out var problem) is not { } root) return Error(
                400, $"the payload is wrong: {problem}");
            return name switch
            {
                "ping" => new(200, "{}"u8.ToArray()),
                "getStatus" => new(200, status.Write()),
                "getSettings" => GetSettings(),
                "validateSettings" => await ValidateSettingsAsync(root, cancellationToken),
                "flush" => await FlushAsync(Seconds(root, "timeoutSeconds"), cancellationToken),
                "pause" => Do(forwarder.Pause),
                "resume" => Do(forwarder.Resume),
                "readNow" => await ReadNowAsync(Text(root, "sensor"), cancellationToken),
                "getDeadLetters" => ListDeadLetters((long)Number(root, "afterId", 0)),
                "retryDeadLetters" => await CountAsync("retried", buffer.RetryDeadLettersAsync(cancellationToken)),
                "purgeDeadLetters" => await CountAsync("purged", buffer.PurgeDeadLettersAsync(cancellationToken)),
                "checkBuffer" => await CheckBufferAsync(Seconds(root, "timeoutSeconds"), cancellationToken),
                "doctor" => new(200, await Task.Run(ExamineAsJson, cancellationToken)),
                _ => Error(501, NoSuchMethod(name)),
            };
        }
        catch (FormatException exception)
        {
            return Error(400, exception.Message);
        }
        catch (BufferUnavailableException exception)
        {
            return Error(503, LogText.Clean(exception.Message));
        }
    }

    static string HowToGetTheRest(string method, JsonObject shown) => method switch
    {
        "getDeadLetters" =>
            $"call getDeadLetters with afterId {shown["deadLetters"]?.AsArray().LastOrDefault()?["id"] ?? 0}",
        "readNow" => "call readNow with the name of a sensor",
        "validateSettings" => "validate fewer settings at once",
        "getSettings" => "see the page of the module, or the settings where they are kept",
        "doctor" => "run SensorForwarder --doctor in the container",
        _ => "see the page of the module",
    };

    static JsonObject? ReadPayload(ReadOnlySpan<byte> payload, out string? problem)
    {
        problem = null;
        return payload.IsEmpty || payload.Trim(" \t\r\n"u8).SequenceEqual("null"u8)
            ? []
            : DocumentReader.Read(payload, out problem);
    }

    MethodAnswer GetSettings() => settings.Current is { } current
        ? Answer(new JsonObject { ["version"] = current.Version }, current, _ => true)
        : Error(503, "the settings are not known yet; call again in a second");

    async Task<MethodAnswer> ValidateSettingsAsync(JsonObject patch, CancellationToken cancellationToken)
    {
        var preview = await settings.PreviewAsync(patch, cancellationToken);
        var isRefused = preview.Verdicts.Any(verdict => verdict.Error is not null && patch.ContainsKey(verdict.Key));
        var unknown = preview.UnknownKeys.Where(
            message => patch.Any(pair => message.StartsWith($"{LogText.Name(pair.Key)}:", StringComparison.Ordinal)));
        preview = preview with { UnknownKeys = [.. unknown] };
        return Answer(new JsonObject
        {
            ["valid"] = !isRefused
            && preview.UnknownKeys.Count == 0
        }, preview, patch.ContainsKey);
    }

    static MethodAnswer Answer(JsonObject answer, ParsedSettings parsed, Func<string, bool> isWanted)
    {
        answer["settings"] = TwinReport.Describe(parsed, isWanted);
        if (TwinReport.Unknown(parsed) is { } unknown) answer[TwinReport.UnknownKey] = unknown;
        return new(200, Encoding.UTF8.GetBytes(answer.ToJsonString()));
    }

    async Task<MethodAnswer> FlushAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (forwarder.Status.Paused) return Error(409, "forwarding is paused; call resume first");
        var drained = await forwarder.FlushAsync(timeout, cancellationToken);
        return Answer(json =>
        {
            json.WriteBoolean("drained", drained);
            json.WriteNumber("remaining", buffer.GetStatus().Depth);
        });
    }

    async Task<MethodAnswer> ReadNowAsync(string? sensor, CancellationToken cancellationToken)
    {
        var names = scheduler.Health.Select(health => health.Name).Where(name => sensor is null || name == sensor)
            .ToList();
        if (names.Count == 0 && sensor is not null) return Error(404, $"there is no sensor '{LogText.Clean(sensor)}'");
        var readings = await Task.WhenAll(names.Select(scheduler.ReadNowAsync)).WaitAsync(cancellationToken);
        return Answer(json =>
        {
            json.WriteStartObject("readings");
            foreach (var reading in readings)
            {
                if (reading is null) continue;
                json.WriteStartObject(reading.Sensor);
                json.WriteString("time", reading.Time.UtcDateTime);
                json.WriteString("quality", reading.Quality.ToString().ToLowerInvariant());
                if (reading.Reason is { } reason) json.WriteString("reason", reason);
                json.WriteStartObject("values");
                foreach (var (name, value) in reading.Values) json.WriteNumber(name, value);
                json.WriteEndObject();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        });
    }

    byte[] ExamineAsJson() =>
        Encoding.UTF8.GetBytes(
            Prescription.ToJson(Examination.Make(scheduler.World, scheduler.Running)).ToJsonString());

    MethodAnswer ListDeadLetters(long afterId)
    {
        var letters = buffer.ListDeadLetters(afterId, MaxDeadLettersShown);
        return Answer(json =>
        {
            json.WriteNumber("count", buffer.GetStatus().DeadLetters);
            json.WriteStartArray("deadLetters");
            foreach (var letter in letters)
            {
                json.WriteStartObject();
                json.WriteNumber("id", letter.Id);
                json.WriteString("reason", letter.Reason);
                if (letter.Answer is { } answer) json.WriteString("answer", answer);
                json.WritePropertyName("data");
                if (letter.Payload.Length <= MaxBodyShownLength) json.WriteRawValue(
                    letter.Payload.Span, skipInputValidation: true);
                else json.WriteStringValue($"{letter.Payload.Length} bytes");
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }

    async Task<MethodAnswer> CheckBufferAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        Task<(string? Fault, TimeSpan Took)> check;
        lock (_lock) check = _check ??= CheckBufferAsync();
        try
        {
            var (fault, took) = await check.WaitAsync(timeout, timeProvider, cancellationToken);
            Forget(check);
            return Answer(json =>
            {
                json.WriteBoolean("done", true);
                json.WriteBoolean("whole", fault is null);
                if (fault is not null) json.WriteString("fault", LogText.Clean(fault));
                json.WriteNumber("seconds", Math.Round(took.TotalSeconds, 1));
            });
        }
        catch (TimeoutException)
        {
            return Answer(json => json.WriteBoolean("done", false), 202);
        }
        catch (BufferUnavailableException)
        {
            Forget(check);
            throw;
        }
    }

    async Task<(string? Fault, TimeSpan Took)> CheckBufferAsync()
    {
        var began = timeProvider.GetTimestamp();
        return (await buffer.CheckAsync(), timeProvider.GetElapsedTime(began));
    }

    void Forget(Task check)
    {
        lock (_lock) _check = _check == check ? null : _check;
    }

    static MethodAnswer Do(Action action)
    {
        action();
        return new(200, "{}"u8.ToArray());
    }

    static string NoSuchMethod(string name)
    {
        var nearest = NearestName.Find(name, [.. MethodTable.All.Select(method => method.Name)]);
        return $"there is no method '{LogText.Clean(name)}'{nearest.Hint}";
    }

    /// <summary>The buffer repeats what the volume rejects; the caller does not wait for that.</summary>
    async Task<MethodAnswer> CountAsync(string name, Task<int> counting)
    {
        try
        {
            var count = await counting.WaitAsync(TimeSpan.FromSeconds(StandardTimeoutSeconds), timeProvider);
            return Answer(json => json.WriteNumber(name, count));
        }
        catch (TimeoutException)
        {
            var stored = buffer.GetStatus();
            var why = $"{stored.Storage}: {stored.StorageReason ?? "the volume is slow"}";
            return Error(503, LogText.Clean($"not done yet, and done as soon as it can be: {why}"));
        }
    }

    static MethodAnswer Error(int code, string text) => Answer(json => json.WriteString("error", text), code);

    static MethodAnswer Answer(Action<Utf8JsonWriter> write, int code = 200)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return new(code, bytes.WrittenSpan.ToArray());
    }

    static TimeSpan Seconds(JsonObject root, string name)
    {
        var seconds = Number(root, name, StandardTimeoutSeconds);
        return seconds is >= 0 and <= MaxTimeoutSeconds
            ? TimeSpan.FromSeconds(seconds)
            : throw new FormatException($"{name}: {seconds} is not allowed; allowed is 0..{MaxTimeoutSeconds}");
    }

    static double Number(JsonObject root, string name, double standard)
    {
        if (root[name] is not { } value) return standard;
        return value is JsonValue json && json.TryGetValue<double>(out var number) && double.IsFinite(number)
            ? number
            : throw new FormatException($"{name}: {Show(value)} is not a number");
    }

    static string? Text(JsonObject root, string name)
    {
        if (root[name] is not { } value) return null;
        return value is JsonValue json && json.TryGetValue<string>(out var text)
            ? text
            : throw new FormatException($"{name}: {Show(value)} is not a text");
    }

    static string Show(JsonNode value)
    {
        using var json = JsonDocument.Parse(value.ToJsonString());
        return LogText.Quote(json.RootElement);
    }
}
