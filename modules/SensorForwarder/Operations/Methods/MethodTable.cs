using SensorForwarder.Configuration;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Methods;

/// <summary>Describes a direct method, for docs/operations.md and the Plug and Play model.</summary>
/// <param name="Answer">An example of its answer with status 200.</param>
/// <param name="Parameters">The properties of its payload; all are optional.</param>
internal sealed record MethodDefinition(
    string Name, string Text, string Answer, params IReadOnlyList<Option> Parameters);

/// <summary>All direct methods; <see cref="DirectMethods"/> carries them out.</summary>
internal static class MethodTable
{
    public static readonly Option<TimeSpan> Timeout = Option.Time(
        "timeoutSeconds", 0, 300, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(20),
        "How long to wait for completion.");
    public static readonly Option<DateTimeOffset?> From =
        Option.Moment("from", "Time of the first reading.").From("that of the oldest");
    public static readonly Option<DateTimeOffset?> To = Option.Moment("to", "Time of the last reading.").From("now");
    public static readonly Option<IReadOnlyList<string>?> Sensors = Option.Texts(
        "sensors", SensorsParser.MaxSensors, "Names of sensors, as a list or separated by commas.").From("all");
    public static readonly Option<string?> Sensor = Option.TextOf(
        "sensor", "Name of a sensor.", SensorSettings.MaxNameLength).From("all");
    public static readonly Option<long> AfterId = Option.Long(
        "afterId", 0, 1L << 53, 0, "Only dead letters with a higher id.");

    public static IReadOnlyList<MethodDefinition> All { get; } =
    [
        new("ping", "Answers.", "{}"),
        new("getStatus", "Returns queue, storage, clock, forwarding, connection and sensors, as `/status` and the "
            + "`status` section of the reported properties do.",
            """{"version":"0.1.0","epoch":"0197..","queueDepth":12,"sensorStates":{"Working":1}"""
            + ""","sensors":{"attic":{"state":"Working"}},..}"""),
        new("getSettings", "Returns every setting in force, as the reported properties acknowledge it.",
            """{"version":7,"settings":{"batchSize":{"value":5,"ac":200,"av":7},..}}"""),
        new("validateSettings", "Returns how a patch of the desired properties would be acknowledged; nothing is "
            + "changed. The payload is the patch.",
            """{"valid":false,"settings":{"batchSize":{"value":50,"ac":400,"av":7,"ad":"0 is not allowed;.."}}"""
            + ""","unknownSettings":"batchsize: there is no such setting (did you mean batchSize?)"}"""),
        new("flush", "Sends all waiting readings, without waiting for full batches. 409: forwarding is paused. With "
            + "edgeHub's metrics page, `handedOver` counts the readings that edgeHub has and the cloud is not known to "
            + "have.",
            """{"drained":true,"remaining":0}""", Timeout),
        new("pause", "Pauses forwarding; sensing continues.", "{}"),
        new("resume", "Resumes forwarding.", "{}"),
        new("replay", "Sends forwarded readings that are still in the buffer (`retainForwardedHours`) again, for a "
            + "receiver that lost them: with the same ids, in parallel with new readings, and counted in the quota.",
            """{"replayed":1200}""", From, To, Sensors),
        new("readNow", "Reads sensors now, and stores the readings. 404: there is no such sensor. 409: "
            + "its readings are pushed by a broker; the error says when the last message arrived.",
            """{"readings":{"attic":{"time":"2026-11-24T14:20:31.123Z","quality":"good","""
            + "\"values\":{\"temperature\":21.43}}}}", Sensor),
        new("getDeadLetters", "Returns the first 100 readings that the receiver refused permanently, and their total "
            + "number.",
            """{"count":1,"deadLetters":[{"id":2,"reason":"Rejected","answer":"answered 400: no","data":{..}}]}""",
            AfterId),
        new("retryDeadLetters", "Returns all dead letters to the queue.", """{"retried":1}"""),
        new("purgeDeadLetters", "Deletes all dead letters.", """{"purged":1}"""),
        new("checkBuffer", "Checks the whole database for damage while the module works; damage is salvaged at once. "
            + "202 and `done` false: the check is still running; call again for the result.",
            """{"done":true,"whole":true,"seconds":0.4}""", Timeout),
        new("doctor", "Lists buses, chips that answer, serial ports and the devices that send on unused ones, kernel "
            + "channels, permissions, messages that edgeHub lost, and the `createOptions` and `sensors` that would "
            + "work; changes no setting. Takes up to 15 s if something unknown sends on a serial port.",
            """{"user":1654,"groups":[998],"nodes":[..],"chips":[..],"sources":[..],"ports":[..],"checked":[..]"""
            + ""","edgeHub":[..],"createOptions":{..},"sensors":{..}}"""),
    ];
}
