using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Operations.Doctor;
using SensorForwarder.Operations.Status;
using SensorForwarder.Options;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Methods;

/// <summary>
/// Carries out the direct methods, which <see cref="MethodTable"/> describes, for the hub and the command line. Every
/// answer is a JSON object; an error has the property <c>error</c>, a sentence. A payload is an object; none, or
/// null, counts as empty. Thread-safe.
/// </summary>
internal sealed class DirectMethods(
    TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, SettingsStore settings, StatusSource source,
    SensorKinds kinds, TimeProvider timeProvider, MqttIntake? mqtt = null)
{
    const int MaxDeadLettersShown = 100;
    const int MaxBodyShownLength = 1000;

    readonly Lock _lock = new();

    // Guarded by _lock: the check that is running, or whose result was not fetched yet.
    Task<(string? Fault, TimeSpan Took)>? _check;

    /// <summary>Answers a call. The status of an error is 400: invalid payload; 404: unknown sensor; 409: paused, or
    /// a sensor that can't be read; 501: unknown method; 503: not available now.</summary>
    public async Task<MethodAnswer> InvokeAsync(
        string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        var answer = await AnswerAsync(name, payload, cancellationToken);
        return answer with
        {
            Body = SizeLimit.Apply(answer.Body, SizeLimit.MaxAnswerBytes, (json, leftOut) =>
            {
                json["leftOut"] = new JsonObject(
                    leftOut.Select(list => KeyValuePair.Create(list.Key, (JsonNode?)list.Value)));
                json["more"] = HowToGetTheRest(name, json);
            }),
        };
    }

    async Task<MethodAnswer> AnswerAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        try
        {
            if (ReadPayload(payload.Span, out var problem) is not { } root) return Error(
                400, $"the payload is invalid: {problem}");
            return name switch
            {
                "ping" => new(200, "{}"u8.ToArray()),
                "getStatus" => new(200, StatusDocument.Write(source.Capture())),
                "getSettings" => GetSettings(),
                "validateSettings" => await ValidateSettingsAsync(root, cancellationToken),
                "flush" => await FlushAsync(Get(root, MethodTable.Timeout), cancellationToken),
                "pause" => Do(forwarder.Pause),
                "resume" => Do(forwarder.Resume),
                "replay" => await ReplayAsync(root, cancellationToken),
                "readNow" => await ReadNowAsync(Get(root, MethodTable.Sensor), cancellationToken),
                "getDeadLetters" => ListDeadLetters(Get(root, MethodTable.AfterId)),
                "retryDeadLetters" => await CountAsync("retried", buffer.RetryDeadLettersAsync(cancellationToken)),
                "purgeDeadLetters" => await CountAsync("purged", buffer.PurgeDeadLettersAsync(cancellationToken)),
                "checkBuffer" => await CheckBufferAsync(Get(root, MethodTable.Timeout), cancellationToken),
                "doctor" => await Task.Run(Examine, cancellationToken),
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
        "getSettings" => "see the module's page, its twin, or the settings file",
        "doctor" => "run SensorForwarder --doctor in the container",
        _ => "see the module's page",
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
        var isValid = !isRefused && preview.UnknownKeys.Count == 0;
        return Answer(new JsonObject { ["valid"] = isValid }, preview, patch.ContainsKey);
    }

    static MethodAnswer Answer(JsonObject answer, ParsedSettings parsed, Func<string, bool> isWanted)
    {
        answer["settings"] = TwinReport.Describe(parsed, isWanted);
        if (TwinReport.Unknown(parsed) is { } unknown) answer[TwinReport.UnknownKey] = unknown;
        return Answer(answer);
    }

    async Task<MethodAnswer> FlushAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (forwarder.Status.Paused) return Error(409, "forwarding is paused; call resume first");
        var drained = await forwarder.FlushAsync(timeout, cancellationToken);
        var answer = new JsonObject { ["drained"] = drained, ["remaining"] = buffer.GetStatus().Depth };
        if (forwarder.Status.Custody is { Holder: CustodyHolder.Cloud } custody)
            answer["handedOver"] = custody.HandedOver;
        return Answer(answer);
    }

    async Task<MethodAnswer> ReplayAsync(JsonObject root, CancellationToken cancellationToken)
    {
        var from = Get(root, MethodTable.From) ?? DateTimeOffset.MinValue;
        var to = Get(root, MethodTable.To) ?? timeProvider.GetUtcNow();
        if (from > to) throw new FormatException($"from: {root["from"]} is later than to");

        // The Plug and Play model has the names as one string.
        var sensors = root["sensors"] is JsonValue value && value.TryGetValue<string>(out var names)
            ? names.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            : Get(root, MethodTable.Sensors);
        if (settings.Current?.Settings.Buffer.RetainForwarded != TimeSpan.Zero)
            return await CountAsync("replayed", forwarder.ReplayAsync(from, to, sensors, cancellationToken));
        return Answer(new()
        {
            ["replayed"] = 0,
            ["hint"] = "forwarded readings are not kept; set retainForwardedHours to keep them",
        });
    }

    async Task<MethodAnswer> ReadNowAsync(string? sensor, CancellationToken cancellationToken)
    {
        var names = scheduler.Health.Select(health => health.Name).Where(name => sensor is null || name == sensor)
            .ToList();
        if (names.Count == 0 && sensor is not null)
        {
            return mqtt?.Find(sensor) is { } source
                ? Error(409, NotReadable(source))
                : Error(404, $"there is no sensor '{LogText.Clean(sensor)}' that the module reads");
        }

        var readings = await Task.WhenAll(names.Select(scheduler.ReadNowAsync)).WaitAsync(cancellationToken);
        var shown = readings.OfType<Reading>()
            .Select(reading => KeyValuePair.Create(reading.Sensor, (JsonNode?)Describe(reading)));
        return Answer(new() { ["readings"] = new JsonObject(shown) });
    }

    string NotReadable(MqttSource source)
    {
        var last = source.Source.Status.LastSeen is { } seen
            ? $"the last message arrived at {seen.Time(timeProvider).UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}"
            : "no message has arrived since the start";
        return $"'{source.Settings.Name}' is of kind {source.Settings.Kind.Name}: its readings are pushed by "
            + $"{source.Subscription.Broker} and can't be read now; {last}";
    }

    static JsonObject Describe(Reading reading)
    {
        var json = new JsonObject
        {
            ["time"] = reading.Time.UtcDateTime,
            ["quality"] = reading.Quality.ToString().ToLowerInvariant(),
        };
        if (reading.Reason is { } reason) json["reason"] = reason;
        var values = new JsonObject();
        foreach (var (name, value) in reading.Values) values[name] = value;
        json["values"] = values;
        return json;
    }

    MethodAnswer Examine() => Answer(Prescription.ToJson(
        Examination.Make(kinds, scheduler.World, scheduler.Running),
        JsonNode.Parse(StatusDocument.Write(source.Capture()).Span)!.AsObject()));

    MethodAnswer ListDeadLetters(long afterId)
    {
        var letters = new JsonArray();
        foreach (var letter in buffer.ListDeadLetters(afterId, MaxDeadLettersShown))
        {
            var json = new JsonObject { ["id"] = letter.Id, ["reason"] = letter.Reason };
            if (letter.Answer is { } answer) json["answer"] = answer;
            json["data"] = letter.Payload.Length <= MaxBodyShownLength
                ? JsonNode.Parse(letter.Payload.Span)
                : $"{letter.Payload.Length} bytes";
            letters.Add((JsonNode)json);
        }

        return Answer(new() { ["count"] = buffer.GetStatus().DeadLetters, ["deadLetters"] = letters });
    }

    async Task<MethodAnswer> CheckBufferAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        Task<(string? Fault, TimeSpan Took)> check;
        lock (_lock) check = _check ??= CheckBufferAsync();
        try
        {
            var (fault, took) = await check.WaitAsync(timeout, timeProvider, cancellationToken);
            Forget(check);
            var answer = new JsonObject { ["done"] = true, ["whole"] = fault is null };
            if (fault is not null) answer["fault"] = LogText.Clean(fault);
            answer["seconds"] = Math.Round(took.TotalSeconds, 1);
            return Answer(answer);
        }
        catch (TimeoutException)
        {
            return Answer(new() { ["done"] = false }, 202);
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

    /// <summary>Answers with the number of readings. The buffer retries while the volume fails; the caller waits only a
    /// limited time.</summary>
    async Task<MethodAnswer> CountAsync(string name, Task<int> counting)
    {
        try
        {
            var count = await counting.WaitAsync(MethodTable.Timeout.Standard, timeProvider);
            return Answer(new() { [name] = count });
        }
        catch (TimeoutException)
        {
            var stored = buffer.GetStatus();
            var why = $"{stored.Storage}: {stored.StorageReason ?? "the volume is slow"}";
            return Error(503, LogText.Clean($"not done yet; the module keeps trying: {why}"));
        }
    }

    static MethodAnswer Error(int code, string text) => Answer(new() { ["error"] = text }, code);

    static MethodAnswer Answer(JsonObject answer, int code = 200) =>
        new(code, Encoding.UTF8.GetBytes(answer.ToJsonString()));

    static T Get<T>(JsonObject root, Option<T> option)
    {
        var given = root[option.Name] is { } value ? JsonElement.Parse(value.ToJsonString()) : default;
        return option.TryRead(given, out var read, out var problem)
            ? read
            : throw new FormatException($"{option.Name}: {problem}");
    }
}
