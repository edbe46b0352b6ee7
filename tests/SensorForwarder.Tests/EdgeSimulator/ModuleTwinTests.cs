using System.Text.Json.Nodes;
using EdgeSimulator.Twins;

namespace SensorForwarder.Tests.Simulator;

public sealed class ModuleTwinTests
{
    /// <summary>The examples of RFC 7386, appendix A, whose documents are objects.</summary>
    [Theory]
    [InlineData("""{"a":"b"}""", """{"a":"c"}""", """{"a":"c"}""")]
    [InlineData("""{"a":"b"}""", """{"b":"c"}""", """{"a":"b","b":"c"}""")]
    [InlineData("""{"a":"b"}""", """{"a":null}""", "{}")]
    [InlineData("""{"a":"b","b":"c"}""", """{"a":null}""", """{"b":"c"}""")]
    [InlineData("""{"a":["b"]}""", """{"a":"c"}""", """{"a":"c"}""")]
    [InlineData("""{"a":"c"}""", """{"a":["b"]}""", """{"a":["b"]}""")]
    [InlineData("""{"a":{"b":"c"}}""", """{"a":{"b":"d","c":null}}""", """{"a":{"b":"d"}}""")]
    [InlineData("""{"a":[{"b":"c"}]}""", """{"a":[1]}""", """{"a":[1]}""")]
    [InlineData("{}", """{"a":{"bb":{"ccc":null}}}""", """{"a":{"bb":{}}}""")]
    public void Merge_patch_follows_RFC_7386(string target, string patch, string merged)
    {
        var document = Json(target);

        MergePatch.Apply(document, Json(patch));

        Assert.Equal(merged, document.ToJsonString());
    }

    [Fact]
    public void Desired_and_reported_versions_count_up_separately_and_a_patch_cannot_set_them()
    {
        var twin = new ModuleTwin(Json("""{"x":1,"$version":77}"""));

        twin.PatchDesired(Json("""{"y":2,"$version":99,"$metadata":{}}"""));
        twin.PatchReported(Json("""{"z":3,"$version":5}"""));
        twin.PatchReported(Json("""{"z":null}"""));

        Assert.Equal(
            """{"desired":{"x":1,"y":2,"$version":2},"reported":{"$version":3}}""", twin.Document().ToJsonString());
    }

    [Fact]
    public void Subscriber_gets_the_changed_keys_with_the_version()
    {
        var twin = new ModuleTwin(Json("""{"x":1,"y":2}"""));
        var pushed = new List<string>();
        twin.DesiredChanged += patch => pushed.Add(patch.ToJsonString());

        twin.PatchDesired(Json("""{"x":null}"""));

        Assert.Equal(["""{"x":null,"$version":2}"""], pushed);
        Assert.Equal("""{"y":2,"$version":2}""", twin.Document()["desired"]!.ToJsonString());
    }

    [Theory]
    [InlineData("""{"ok":{"value":5,"ac":200,"av":1,"ad":"ok"}}""", null)]
    [InlineData("""{"list":[1,"two",{"three":3}]}""", null)]
    [InlineData("[]", "not a JSON object")]
    [InlineData("""{"a b":1}""", "'a b'")]
    [InlineData("""{"a":{"$b":1}}""", "'a.$b'")]
    [InlineData("""{"a":[null]}""", "'a[0]'")]
    [InlineData("""{"a":4503599627370497}""", "2^52")]
    [InlineData("""{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}}}}""", "deeper")]
    public void Reported_properties_beyond_the_limits_of_edgeHub_are_refused(string patch, string? words)
    {
        var objection = ReportedProperties.Objection(JsonNode.Parse(patch));

        if (words is null)
        {
            Assert.Null(objection);
        }
        else
        {
            Assert.Contains(words, objection, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(4096, true)]
    [InlineData(4097, false)]
    public void Reported_string_of_more_than_4096_bytes_is_refused(int length, bool taken) =>
        Assert.Equal(taken, ReportedProperties.Objection(new JsonObject { ["a"] = new string('x', length) }) is null);

    static JsonObject Json(string text) => JsonNode.Parse(text)!.AsObject();
}
