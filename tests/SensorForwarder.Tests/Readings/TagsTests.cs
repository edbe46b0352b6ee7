using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Readings;

public sealed class TagsTests
{
    /// <summary>Parses tags as in the settings.</summary>
    internal static Tags Of(string json) => Read(json) is (var tags, null) ? tags : throw new ArgumentException(json);

    static (Tags Tags, string? Problem) Read(string json)
    {
        using var document = JsonDocument.Parse(json);
        Tags.Option("tags", "").TryRead(document.RootElement, out var tags, out var problem);
        return (tags, problem);
    }

    [Fact]
    public void Tags_are_equal_regardless_of_order_and_their_names_become_labels()
    {
        var tags = Of("""{"site":"north","asset-id":"7","gone":null}""");
        Assert.Equal(tags, Of("""{"asset-id":"7","site":"north"}"""));
        Assert.Equal(tags.GetHashCode(), Of("""{"asset-id":"7","site":"north"}""").GetHashCode());
        Assert.NotEqual(tags, Of("""{"asset-id":"7","site":"south"}"""));
        Assert.Equal([new("asset_id", "7"), new("site", "north")], tags.Labels);
        Assert.Equal("site".Length + "north".Length + "asset-id".Length + 1, tags.Bytes);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData("""{"site":null}""")]
    public void An_empty_set_of_tags_is_allowed(string json) => Assert.Equal(Tags.None, Of(json));

    [Theory]
    [InlineData("""["a"]""", "[\"a\"] is not allowed; allowed is a map of up to 10 names to texts of 1 to 64 characters")]
    [InlineData("""{"site":7}""", "site: 7 is not allowed; allowed is a text of 1 to 64 characters")]
    [InlineData("""{"site":""}""", "site: \"\" is not allowed; allowed is a text of 1 to 64 characters")]
    [InlineData("""{"site":"a\nb"}""", "is not allowed; allowed is a text of 1 to 64 characters")]
    [InlineData("""{"7":"a"}""", "7 is not a valid tag name; a name has 1 to 32 letters, digits, - and _, and begins with a letter")]
    [InlineData("""{"a.b":"a"}""", "a.b is not a valid tag name")]
    [InlineData("""{"":"a"}""", "is not a valid tag name")]
    [InlineData("""{"$on":"a"}""", "is not a valid tag name")]
    [InlineData("""{"lane":"a"}""", "lane is the name of a property of messages or of a label of /metrics; choose another name")]
    [InlineData("""{"severity":"a"}""", "severity is the name of a property of messages or of a label of /metrics; choose another name")]
    [InlineData("""{"Edge-Device":"a"}""", "Edge-Device is the name of a property of messages or of a label of /metrics; choose another name")]
    [InlineData("""{"iothub-x":"a"}""", "iothub-x is the name of a property")]
    [InlineData("""{"asset-id":"a","asset_id":"b"}""", "asset_id and asset-id are the same label of /metrics; choose another name")]
    [InlineData("""{"Site":"a","site":"b"}""", "site and Site are the same label of /metrics")]
    [InlineData("""{"a":"1","b":"1","c":"1","d":"1","e":"1","f":"1","g":"1","h":"1","i":"1","j":"1","k":"1"}""", "there are more than 10 tags")]
    public void An_invalid_tag_is_reported_with_its_problem(string json, string problem) => Assert.Contains(problem, Read(json).Problem, StringComparison.Ordinal);

    [Fact]
    public void The_longest_allowed_tags_fit_into_the_MQTT_topic_of_a_message()
    {
        var node = new JsonObject();
        for (var i = 0; i < Tags.MaxCount; i++) node[$"{(char)('a' + i)}{new string('x', Tags.MaxNameLength - 1)}"] = new string('\u20ac', Tags.MaxLength);
        var tags = Of(node.ToJsonString());
        Assert.True(tags.Labels.Sum(tag => Uri.EscapeDataString($"{tag.Key}{tag.Value}").Length + 2) < 16_384 - 1_024);
    }
}
