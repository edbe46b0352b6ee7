using System.Text;
using SensorForwarder.Configuration;

namespace SensorForwarder.Tests.Configuration;

public sealed class DocumentReaderTests
{
    static string? Problem(ReadOnlySpan<byte> bytes)
    {
        var document = DocumentReader.Read(bytes, out var problem);
        Assert.Equal(problem is null, document is not null);
        return problem;
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("\uFEFF{\"a\":1}")]
    [InlineData("{\"a\":[1,], // why\n \"b\":/* so */ {\"c\":\"\\ud83d\\ude00\",},}")]
    public void A_document_may_have_a_byte_order_mark_comments_and_trailing_commas(string text) =>
        Assert.Null(Problem(Encoding.UTF8.GetBytes(text)));

    [Theory]
    [InlineData("[1]", "it is not a JSON object")]
    [InlineData("null", "it is not a JSON object")]
    [InlineData("{\n  \"a\": 1,\n  \"b\" 2}", "it is not JSON: line 3, byte 7: '2' is invalid after a property name")]
    [InlineData("{\"a\":tru}", "it is not JSON: line 1, byte 9: a word is not a valid JSON literal")]
    [InlineData("{\"a\":{\"b\":1,\"b\":2}}", "it has the property 'b' twice")]
    [InlineData("{\"a\":[{\"b\":1},{\"b\":1,\"c\":{\"b\":1},\"\\u0062\":2}]}", "it has the property 'b' twice")]
    [InlineData("{\"a\":[{\"b\":\"\\ud83d\"}]}", "it contains text that is not valid Unicode")]
    [InlineData("{\"a\":[\"\\ude00\"]}", "it contains text that is not valid Unicode")]
    [InlineData("", "it is not JSON: ")]
    public void An_invalid_document_is_refused_with_the_reason(string text, string problem) =>
        Assert.Contains(problem, Problem(Encoding.UTF8.GetBytes(text)), StringComparison.Ordinal);

    [Fact]
    public void Bytes_that_are_not_valid_UTF_8_are_refused() =>
        Assert.Equal("it contains text that is not valid Unicode", Problem([(byte)'{', 0xC3, (byte)'}']));
}
