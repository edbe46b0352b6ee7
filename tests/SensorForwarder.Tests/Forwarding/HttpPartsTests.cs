using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Answers about single readings, with unusual wording or content.</summary>
public sealed class HttpPartsTests
{
    const string LoneSurrogate = "\\ud83d";
    const string Latin1 = "\u00e9";

    static readonly HttpSinkOptions Plain = new(null, new Dictionary<string, string>());

    static readonly Batch Batch = new BatchEncoder("pi", "module").Encode(
        [.. Enumerable.Range(1, 3).Select(id => new BufferedReading(id, BufferFixture.Noon, "{}"u8.ToArray()) { Epoch = "epoch" })], int.MaxValue);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Task<Receiver> JsonAsync(Func<(int Status, byte[] Body)> answer) => Receiver.StartAsync(async context =>
    {
        var (status, body) = answer();
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        await context.Response.Body.WriteAsync(body);
    });

    [Theory]
    [InlineData(200, $$"""{"rejected":[{"id":3,"reason":"{{LoneSurrogate}}"}]}""", "3=reason is not readable")]
    [InlineData(422, $$"""{"rejected":[{"id":3,"reason":"caf{{Latin1}}"}]}""", "3=reason is not readable")]
    [InlineData(200, $$"""{"rejected":[{"id":2},{"id":3,"reason":"odd"}],"rejecte{{LoneSurrogate}}":1,"{{LoneSurrogate}}":1}""", "2=no reason given,3=odd")]
    [InlineData(400, $$"""{"{{Latin1}}":1,"rejected":[{"id":3,"i{{LoneSurrogate}}":5,"reaso{{LoneSurrogate}}":1,"reason":"odd"}]}""", "3=odd")]
    public async Task Invalid_text_in_an_answer_does_not_affect_the_rest_of_the_answer(int status, string body, string rejected)
    {
        await using var receiver = await JsonAsync(() => (status, Encoding.Latin1.GetBytes(body)));
        using var sink = new HttpSink(Plain, TimeProvider.System);
        var partial = (await sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url }, Token)).Partial!;
        Assert.Equal(rejected, string.Join(',', partial.Rejected.Select(pair => $"{pair.Key}={pair.Value}")));
    }

    [Fact]
    public async Task No_malformed_answer_causes_an_exception()
    {
        const int Answers = 1_000, ChangesMax = 4;
        string[] parts =
        [
            LoneSurrogate, Latin1, "\\", "\"", "{", "}", "[", "]", ",", ":", "\0", "\u00ef\u00bb\u00bf", "null", "1e400", "-1", "3.5", "99999999999999999999",
            "\"id\"", "\"reason\"", "\"accepted\"", "\"rejected\"", "\"accepte\\u0064\"", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        ];
        const string Answer = """{"accepted":[1,2],"rejected":[{"id":3,"reason":"no such sensor"}]}""";
        var random = new Random(1);
        var body = "";
        await using var receiver = await JsonAsync(() => (random.Next(2) == 0 ? 200 : 422, Encoding.Latin1.GetBytes(body)));
        using var sink = new HttpSink(Plain, TimeProvider.System);
        for (var i = 0; i < Answers; i++)
        {
            body = Answer;
            for (var change = random.Next(ChangesMax); change >= 0; change--)
            {
                var at = random.Next(body.Length);
                body = body.Remove(at, random.Next(Math.Min(3, body.Length - at))).Insert(at, parts[random.Next(parts.Length)]);
            }

            var failure = await Record.ExceptionAsync(() => sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url }, Token));
            Assert.True(failure is null, $"{body}: {failure}");
        }
    }

    [Theory]
    [InlineData("""{"accepted":[100,101,102]}""")]
    [InlineData("""{"accepted":[-1,0,"4"]}""")]
    public async Task An_accepted_list_with_as_many_unknown_ids_as_readings_accepts_the_whole_batch(string body)
    {
        await using var receiver = await JsonAsync(() => (200, Encoding.UTF8.GetBytes(body)));
        using var sink = new HttpSink(Plain, TimeProvider.System);
        Assert.Equal(SendResult.Accepted, await sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url }, Token));
    }

    [Theory]
    [InlineData(200)] // accepts the readings between the first and the last
    [InlineData(422)] // accepts nothing, and rejects the fourth
    public async Task A_receiver_that_deduplicates_by_batch_key_misses_no_reading_after_a_partial_acceptance(int status)
    {
        var contents = new ConcurrentDictionary<string, string>();
        var taken = new ConcurrentDictionary<long, bool>();
        var contradictions = new ConcurrentQueue<string>();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            using var json = await JsonDocument.ParseAsync(context.Request.Body);
            var ids = json.RootElement.GetProperty("batch").EnumerateArray().Select(entry => entry.GetProperty("id").GetInt64()).ToArray();
            var (key, content) = (context.Request.Headers["Idempotency-Key"].ToString(), string.Join(',', ids));
            if (!contents.TryAdd(key, content))
            {
                if (contents[key] != content) contradictions.Enqueue($"{key} is {contents[key]} and {content}");
                return; // a repeat of a stored batch
            }

            var isRefused = status == 422 && ids.Length > 1 && ids.Contains(4);
            context.Response.StatusCode = isRefused ? status : 200;
            if (isRefused)
            {
                await context.Response.WriteAsJsonAsync(new { rejected = new[] { new { id = 4 } } });
                return;
            }

            var took = status == 200 && ids.Length > 2 ? ids[1..^1] : ids;
            foreach (var id in took) taken[id] = true;
            await context.Response.WriteAsJsonAsync(new { accepted = took });
        });
        using var sink = new HttpSink(Plain, TimeProvider.System);
        await using var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink { Send = sink.SendAsync },
            settings: new() { HttpEndpoint = receiver.Url, BatchSize = 10, UploadInterval = TimeSpan.Zero });
        await fixture.StoreAsync(20);
        await fixture.RunAsync();
        await fixture.UntilDepthAsync(0);

        Assert.Empty(contradictions);
        var aside = fixture.Buffer.ListDeadLetters(0, 10).Select(letter => letter.Id);
        Assert.Equal(Enumerable.Range(1, 20).Select(n => (long)n), taken.Keys.Union(aside).Order());
    }
}
