namespace SensorForwarder.Operations;

/// <summary>One property of the payload of a direct method; all are optional.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Schema">Its schema as DTDL names it.</param>
/// <param name="Text">What it does, and what it is when it is not given.</param>
internal sealed record MethodParameter(string Name, string Schema, string Text);

/// <summary>A direct method, for README and for the Plug and Play model.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Text">What it does.</param>
/// <param name="Answer">What it answers with status 200, by example.</param>
/// <param name="Parameters">The properties of its payload.</param>
internal sealed record MethodDefinition(
    string Name, string Text, string Answer, params IReadOnlyList<MethodParameter> Parameters);

/// <summary>Every direct method there is; <see cref="DirectMethods"/> carries them out.</summary>
internal static class MethodTable
{
    static readonly MethodParameter Timeout = new(
        "timeoutSeconds", "double", "How long to wait for the end, 0..300; 20.");

    public static IReadOnlyList<MethodDefinition> All { get; } =
    [
        new("ping", "Answers.", "{}"),
        new("getStatus", "Queue, storage, clock, forwarding, connection, sensors; the answer of `/status` and the "
            + "`status` section of the reported properties.",
            """{"version":"0.1.0","epoch":"0197..","queueDepth":12,"sensorStates":{"Working":1}"""
            + ""","sensors":{"attic":{"state":"Working"}},..}"""),
        new("getSettings", "Every setting as it is in force, as the reported properties acknowledge it.",
            """{"version":7,"settings":{"batchSize":{"value":5,"ac":200,"av":7},..}}"""),
        new("validateSettings", "What would become of a patch of the desired properties, key by key; nothing is "
            + "changed. The payload is the patch.",
            """{"valid":false,"settings":{"batchSize":{"value":50,"ac":400,"av":7,"ad":"0 is not allowed;.."}}"""
            + ""","unknownSettings":"batchsize: there is no such setting (did you mean batchSize?)"}"""),
        new("flush", "Sends everything that waits, without waiting for full batches. 409 while paused.",
            """{"drained":true,"remaining":0}""", Timeout),
        new("pause", "Stops forwarding; sensing goes on.", "{}"),
        new("resume", "Forwards again.", "{}"),
        new("readNow", "Reads sensors now, and stores what they say. 404: there is no such sensor.",
            """{"readings":{"attic":{"time":"2026-11-24T14:20:31.123Z","quality":"good","""
            + "\"values\":{\"temperature\":21.43}}}}",
            new MethodParameter("sensor", "string", "The name of one; all.")),
        new("getDeadLetters", "The first 100 readings that the receiver refused for good, and how many there are.",
            """{"count":1,"deadLetters":[{"id":2,"reason":"Rejected","answer":"answered 400: no","data":{..}}]}""",
            new MethodParameter("afterId", "long", "Only those with a higher id; 0.")),
        new("retryDeadLetters", "Puts all of them back into the queue.", """{"retried":1}"""),
        new("purgeDeadLetters", "Deletes all of them.", """{"purged":1}"""),
        new("checkBuffer", "Reads the whole database in search of damage, beside the work; damage is salvaged at once. "
            + "202 and `done` false: it goes on, call again for the end.",
            """{"done":true,"whole":true,"seconds":0.4}""", Timeout),
        new("doctor", "Lists buses, chips that answer, kernel channels and permissions, and the `createOptions` and "
            + "`sensors` that would work; nothing is changed.",
            """{"user":1654,"groups":[998],"nodes":[..],"chips":[..],"sources":[..]"""
            + ""","createOptions":{..},"sensors":{..}}"""),
    ];
}
