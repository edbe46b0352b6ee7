using MQTTnet;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>The settings of a sensor of kind <c>mqtt</c>: broker, topics, and how messages become readings. Immutable.
/// </summary>
/// <param name="Name">The sensor's name in the settings.</param>
/// <param name="ClientId">The MQTT client id; null: made of device, module and name.</param>
/// <param name="Topics">Topic filters.</param>
/// <param name="SensorName">The sensor of a reading, from the topic.</param>
/// <param name="ValueName">The name of the value in a payload without names, from the topic.</param>
/// <param name="Values">The values to take from JSON objects, with their paths; null: all values.</param>
/// <param name="Unit">The unit of all values; null: unknown.</param>
/// <param name="Label">The display name; null: none.</param>
/// <param name="MaxSilence">The longest time without a message; null: as for other sources.</param>
internal sealed record MqttSubscription(
    string Name, MqttBroker Broker, string? ClientId, IReadOnlyList<string> Topics, TopicTemplate SensorName,
    TopicTemplate ValueName, TextByValue? Values, string? Unit, string? Label, TimeSpan? MaxSilence)
{
    const string KindName = "mqtt";
    const int MaxTopics = 50, MaxTopicLength = 256, MaxPathLength = 256, MaxUnitLength = 32, MaxClientIdLength = 128;

    static readonly Option<string?> BrokerOption = Option.TextOf(
        "broker", MqttBroker.Form, MqttBroker.Pattern, static text => MqttBroker.TryRead(text) is not null,
        "The broker, such as `mqtt://mosquitto:1883` or `mqtts://broker.example` (ports 1883 and 8883 may be left "
            + "out). User name and password are boot values, `Mqtt__NAME__UserName` and so on.") with
    { IsRequired = true };

    static readonly Option<IReadOnlyList<string>?> TopicsOption = Option.Texts(
        "topics", MaxTopics, "The topics, such as `zigbee2mqtt/+`; `+` is any one level, and `#` at the end all that "
            + "follow.") with
    { IsRequired = true };

    static readonly Option<string?> NameOption = Template(
        "name", "The sensor in readings: `{2}` is the second level of the topic, `{2+}` all from the second on.")
        .From("the name of this entry if `topics` is one topic without `+` and `#`, else `{topic}`");

    static readonly Option<string?> ValueOption = Template(
        "value", "The name of the value of a plain number, ON or OFF, such as `{3}`.").From("`value`");

    static readonly Option<TextByValue?> ValuesOption = new(
        "values", new OptionShape.TextByValue(MaxPathLength), "Only these values of JSON objects: for each name the "
            + "path to it, such as `{\"temperature\": \"DS18B20.Temperature\"}`. Without it: all numbers, and texts as "
            + "tags.", null,
        static (value, out result) => TextByValue.TryRead(value, MaxPathLength, out result),
        static values => values?.ToJson());

    static readonly Option<string?> UnitOption = Option.TextOf(
        "unit", "The unit of all values, added to every reading.", MaxUnitLength);

    static readonly Option<double?> MaxSilenceOption = Option.Number(
        "maxSilenceSeconds", 1, 31_536_000, "After this time without a message, the source is shown as silent.")
        .From("`Intake__MaxSilenceSeconds`");

    static readonly Option<string?> ClientIdOption = Option.TextOf(
        "clientId", "The MQTT client id: the broker keeps messages for it. No other client may use it.",
        MaxClientIdLength).From("`DEVICE-MODULE-NAME`");

    public static SensorKind Kind { get; } = SensorKind.Pushed(
        KindName, "messages of an MQTT broker, as of zigbee2mqtt, Tasmota, Shelly and ESPHome",
        [
            BrokerOption, TopicsOption, NameOption, ValueOption, ValuesOption, UnitOption, MaxSilenceOption,
            ClientIdOption,
        ],
        static settings => Of(settings)) with
    {
        Connection = "network",
        Claims = static settings => Of(settings) is { ClientId: { } id } subscription
            ? $"client id '{id}' at {subscription.Broker}"
            : null,
    };

    /// <summary>The sensor of all readings; null: the sensor depends on the topic.</summary>
    public string? OnlySensor => SensorName.Levels == 0 ? SensorName.Fill("", between: '/') : null;

    /// <summary>Reads the options of a sensor.</summary>
    /// <exception cref="SensorSettingsException">Options contradict each other, or a topic is invalid.</exception>
    public static MqttSubscription Of(SensorSettings settings)
    {
        var topics = settings.Get(TopicsOption) ?? [];
        for (var i = 0; i < topics.Count; i++)
        {
            if (Objection(topics[i]) is { } objection)
                throw new SensorSettingsException($"topics: entry {i + 1} {objection}");
        }

        var name = settings.Get(NameOption) is { } text ? TopicTemplate.TryRead(text)!
            : topics is [var only] && !HasWildcard(only) ? TopicTemplate.Of(settings.Name) : TopicTemplate.Topic;
        var value = settings.Get(ValueOption) is { } given ? TopicTemplate.TryRead(given)! : TopicTemplate.Of("value");
        CheckLevels(NameOption.Name, name, topics);
        CheckLevels(ValueOption.Name, value, topics);
        TimeSpan? maxSilence = settings.Get(MaxSilenceOption) is { } seconds ? TimeSpan.FromSeconds(seconds) : null;
        return new(
            settings.Name, MqttBroker.TryRead(settings.Get(BrokerOption) ?? "")!, settings.Get(ClientIdOption), topics,
            name, value, settings.Get(ValuesOption), settings.Get(UnitOption), settings.Get(CommonOptions.Label),
            maxSilence);
    }

    /// <summary>Whether one of the topic filters matches a topic.</summary>
    public bool Has(string topic) => Topics.Any(
        filter => MqttTopicFilterComparer.Compare(topic, filter) == MqttTopicFilterCompareResult.IsMatch);

    static Option<string?> Template(string name, string text) => Option.TextOf(
        name, TopicTemplate.Form, TopicTemplate.Pattern, static given => TopicTemplate.TryRead(given) is not null,
        text);

    static bool HasWildcard(string topic) => topic.AsSpan().ContainsAny('+', '#');

    static string? Objection(string topic)
    {
        if (!Option.IsText(topic, MaxTopicLength)) return $"is not a topic of 1 to {MaxTopicLength} characters";
        if (topic.StartsWith("$share/", StringComparison.Ordinal))
            return "is a shared subscription; other clients would get some of the messages";
        var levels = topic.Split('/');
        for (var i = 0; i < levels.Length; i++)
        {
            if (levels[i] is "+" || (levels[i] is "#" && i == levels.Length - 1) || !HasWildcard(levels[i])) continue;
            return "is not a topic: + and # stand alone between slashes, and # only at the end";
        }

        return null;
    }

    static void CheckLevels(string option, TopicTemplate template, IReadOnlyList<string> topics)
    {
        for (var i = 0; i < topics.Count; i++)
        {
            var levels = topics[i].Split('/');
            if (levels[^1] == "#" || template.Levels <= levels.Length) continue;
            throw new SensorSettingsException($"{option}: {{{template.Levels}}} is more than entry {i + 1} of topics "
                + $"has, which is {levels.Length} levels");
        }
    }
}
