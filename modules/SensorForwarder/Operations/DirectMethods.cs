using System.Buffers;
using System.Text;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations.Doctor;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>
/// What somebody far away can ask for. Every answer is a JSON object; one that is no success has <c>error</c>, a
/// sentence. Payloads are objects; none or null is an empty one.
/// </summary>
internal sealed class DirectMethods(
    TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, StatusWriter status)
{
    const double MaxTimeoutSeconds = 300;
    const double StandardTimeoutSeconds = 20;
    const int MaxDeadLettersShown = 100;
    const int MaxBodyShownLength = 1000;

    /// <summary>Answers one call. 400: the payload is wrong; 404: no such sensor; 501: no such method.</summary>
    public async Task<MethodAnswer> InvokeAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        try
        {
            using var json = JsonDocument.Parse(payload.IsEmpty ? "{}"u8.ToArray() : payload);
            var root = json.RootElement;
            if (root.ValueKind is not (JsonValueKind.Object or JsonValueKind.Null))
                return Error(400, "the payload must be a JSON object");

            return name switch
            {
                "getStatus" => new(200, status.Write()),
                "flush" => await FlushAsync(Seconds(root, "timeoutSeconds"), cancellationToken),
                "pause" => Do(forwarder.Pause),
                "resume" => Do(forwarder.Resume),
                "readNow" => await ReadNowAsync(Text(root, "sensor"), cancellationToken),
                "getDeadLetters" => ListDeadLetters((long)Number(root, "afterId", 0)),
                "retryDeadLetters" => Count("retried", await buffer.RetryDeadLettersAsync(cancellationToken)),
                "purgeDeadLetters" => Count("purged", await buffer.PurgeDeadLettersAsync(cancellationToken)),
                "doctor" => new(200, await Task.Run(ExamineAsJson, cancellationToken)),
                "ping" => new(200, "{}"u8.ToArray()),
                _ => Error(501, $"there is no method '{LogText.Clean(name)}'"),
            };
        }
        catch (JsonException exception)
        {
            return Error(400, $"the payload is not JSON: {LogText.Clean(exception.Message)}");
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
        var names = scheduler.Health.Select(health => health.Name).Where(name => sensor is null || name == sensor).ToList();
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
        Encoding.UTF8.GetBytes(Prescription.ToJson(Examination.Make(scheduler.World, scheduler.Running)).ToJsonString());

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
                if (letter.Payload.Length <= MaxBodyShownLength) json.WriteRawValue(letter.Payload.Span, skipInputValidation: true);
                else json.WriteStringValue($"{letter.Payload.Length} bytes");
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }

    static MethodAnswer Do(Action action)
    {
        action();
        return new(200, "{}"u8.ToArray());
    }

    static MethodAnswer Count(string name, int count) => Answer(json => json.WriteNumber(name, count));

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

    static TimeSpan Seconds(JsonElement root, string name)
    {
        var seconds = Number(root, name, StandardTimeoutSeconds);
        return seconds is >= 0 and <= MaxTimeoutSeconds
            ? TimeSpan.FromSeconds(seconds)
            : throw new FormatException($"{name}: {seconds} is not allowed; allowed is 0..{MaxTimeoutSeconds}");
    }

    static double Number(JsonElement root, string name, double standard)
    {
        if (root.ValueKind == JsonValueKind.Null || !root.TryGetProperty(name, out var value)) return standard;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && double.IsFinite(number)
            ? number
            : throw new FormatException($"{name}: {LogText.Clean(value.GetRawText())} is not a number");
    }

    static string? Text(JsonElement root, string name)
    {
        if (root.ValueKind == JsonValueKind.Null || !root.TryGetProperty(name, out var value)) return null;
        return value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : throw new FormatException($"{name}: {LogText.Clean(value.GetRawText())} is not a text");
    }
}
