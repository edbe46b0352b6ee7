using System.Collections.Concurrent;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using Microsoft.AspNetCore.Http;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The forms of <c>accepted</c> and <c>rejected</c> in answers: either an answer is understood, or the batch
/// is sent again. No reading counts as accepted unless the receiver says so.</summary>
public sealed class HttpWordsTests : IAsyncLifetime
{
    const int FirstId = 7, Readings = 3;

    static readonly HttpSinkOptions Plain = new(null, new Dictionary<string, string>());

    static readonly Batch Batch = new BatchEncoder("pi", "module").Encode(
        [.. Enumerable.Range(FirstId, Readings).Select(id => new BufferedReading(id, BufferFixture.Noon, "{}"u8.ToArray()) { Epoch = "epoch" })],
        int.MaxValue);

    static readonly long[] Ours = [.. Batch.Readings.Select(reading => reading.Id)];

    readonly HttpSink _sink = new(Plain, TimeProvider.System);
    (byte[] Body, int Status, string Type) _answer = ([], 200, "application/json");
    Receiver _receiver = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Gen<T> OneOf<T>(params T[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);

    public async ValueTask InitializeAsync() => _receiver = await Receiver.StartAsync(async context =>
    {
        context.Response.StatusCode = _answer.Status;
        if (_answer.Type.Length > 0) context.Response.ContentType = _answer.Type;
        await context.Response.Body.WriteAsync(_answer.Body);
    });

    public async ValueTask DisposeAsync()
    {
        _sink.Dispose();
        await _receiver.DisposeAsync();
    }

    /// <summary>The result of each reading of the batch, one letter each: Accepted, Rejected, or Open (sent again).
    /// </summary>
    async Task<string> FatesAsync(string answer, int status = 200, string type = "application/json") =>
        Fates(await AnswerAsync(answer, status, type));

    static string Fates(SendResult result) => string.Concat(Ours.Select(id =>
        result.Partial?.Rejected.ContainsKey(id) == true ? 'R'
        : result.Partial?.Accepted is { } accepted ? accepted.Contains(id) ? 'A' : 'O'
        : result.Outcome == SendOutcome.Accepted ? 'A' : 'O'));

    Task<SendResult> AnswerAsync(string body, int status = 200, string type = "application/json")
    {
        _answer = (Encoding.UTF8.GetBytes(body), status, type);
        return _sink.SendAsync(Batch, new() { HttpEndpoint = _receiver.Url }, Token);
    }

    [Theory]
    [InlineData("""{"accepted":["7","8"]}""", "AAO")]
    [InlineData("""{"accepted":[7.0,8.00]}""", "AAO")]
    [InlineData("""{"accepted":[7,"8",9e0]}""", "AAA")]
    [InlineData("""{"accepted":[0.7e1]}""", "AOO")]
    [InlineData("""{"accepted":[{"id":7},{"id":"9"}]}""", "AOA")]
    [InlineData("""{"Accepted":[7],"Rejected":[{"Id":8,"Reason":"full"}]}""", "ARO")]
    [InlineData("""{"accepte\u0064":[7]}""", "AOO")]
    [InlineData("""{"rejected":[{"id":"8","reason":"full"}]}""", "ARA")]
    [InlineData("""{"rejected":[{"id":8.0}]}""", "ARA")]
    [InlineData("""{"rejected":[8,"9"]}""", "ARR")]
    [InlineData("""{"accepted":[7],"rejected":[]}""", "AOO")]
    [InlineData("""{"accepted":[7],"rejected":null}""", "AOO")]
    [InlineData("""{"accepted":[]}""", "OOO")]
    [InlineData("""{"accepted":null}""", "OOO")] // an empty list, as some languages write it
    [InlineData("""{"accepted":null,"rejected":[7,8,9]}""", "RRR")]
    [InlineData("""{"accepted":3}""", "AAA")]
    [InlineData("""{"accepted":"3"}""", "AAA")]
    [InlineData("""{"accepted":3.0,"rejected":0}""", "AAA")]
    [InlineData("""{"accepted":2,"rejected":[9]}""", "AAR")]
    [InlineData("""{"accepted":2}""", "OOO")]
    [InlineData("""{"accepted":"2"}""", "OOO")]
    [InlineData("""{"accepted":0}""", "OOO")]
    [InlineData("""{"accepted":4}""", "OOO")]
    [InlineData("""{"accepted":-3}""", "OOO")]
    [InlineData("""{"accepted":2.5}""", "OOO")]
    [InlineData("""{"accepted":1e400}""", "OOO")]
    [InlineData("""{"accepted":3,"rejected":1}""", "OOO")]
    [InlineData("""{"accepted":true}""", "AAA")]
    [InlineData("""{"accepted":true,"rejected":false}""", "AAA")]
    [InlineData("""{"accepted":false}""", "OOO")]
    [InlineData("""{"accepted":"all"}""", "OOO")]
    [InlineData("""{"accepted":{"7":true}}""", "OOO")]
    [InlineData("""{"accepted":[7,"x"]}""", "OOO")]
    [InlineData("""{"accepted":[7,null]}""", "OOO")]
    [InlineData("""{"accepted":[7,7.5]}""", "OOO")]
    [InlineData("""{"accepted":[[7],[8]]}""", "OOO")]
    [InlineData("""{"accepted":[7],"accepted":[8]}""", "OOO")]
    [InlineData("""{"accepted":[7],"ACCEPTED":[8]}""", "OOO")]
    [InlineData("""{"accepted":[7,8],"rejected":[8]}""", "OOO")]
    [InlineData("""{"accepted":[0,1]}""", "OOO")] // perhaps indexes into the batch
    [InlineData("""{"accepted":[7,99]}""", "OOO")]
    [InlineData("""{"accepted":[100,101,102]}""", "AAA")] // the receiver's own ids, one for each reading
    [InlineData("""{"accepted":[1,2,3,4,5,6,7,8,9]}""", "AAA")] // all that it has ever accepted
    [InlineData("""{"rejected":0}""", "AAA")]
    [InlineData("""{"rejected":[]}""", "AAA")]
    [InlineData("""{"rejected":null}""", "AAA")]
    [InlineData("""{"rejected":1}""", "OOO")]
    [InlineData("""{"rejected":true}""", "OOO")]
    [InlineData("""{"rejected":"8"}""", "OOO")]
    [InlineData("""{"rejected":{"8":"full"}}""", "OOO")]
    [InlineData("""{"rejected":[{"id":99}]}""", "OOO")]
    [InlineData("""{"rejected":[{"id":8},{"reason":"full"}]}""", "OOO")]
    [InlineData("""{"accepted":[7,8,]}""", "OOO")]
    [InlineData("""{'accepted':[7]}""", "OOO")]
    [InlineData("""{accepted:[7]}""", "OOO")]
    public async Task Each_form_of_answer_is_understood_or_the_batch_is_sent_again(string answer, string fates)
    {
        Assert.Equal(fates, await FatesAsync(answer));
        Assert.Equal(fates, await FatesAsync(answer, status: 207));
        Assert.Equal(fates, await FatesAsync(answer, type: "application/problem+json"));
        Assert.Equal(fates, await FatesAsync(answer, type: "text/plain"));
        Assert.Equal(fates, await FatesAsync($"\ufeff \r\n{answer}", type: ""));
    }

    [Theory]
    [InlineData("""{"rejected":["8"]}""", "ORO")]
    [InlineData("""{"rejected":[{"id":8.0},{"id":99},{"id":"x"}],"accepted":"x"}""", "ORO")]
    [InlineData("""{"rejected":2}""", "OOO")]
    public async Task With_400_or_422_only_the_rejected_ids_are_used(string answer, string fates)
    {
        foreach (var status in (int[])[400, 422])
        {
            Assert.Equal(fates, await FatesAsync(answer, status));
            Assert.Equal(SendOutcome.Rejected, (await AnswerAsync(answer, status)).Outcome);
        }
    }

    [Fact]
    public async Task A_gzip_answer_is_understood()
    {
        var packed = new MemoryStream();
        await using (var gzip = new GZipStream(packed, CompressionMode.Compress))
            gzip.Write("""{"accepted":[7]}"""u8);
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            context.Response.ContentType = "application/json";
            context.Response.Headers.ContentEncoding = "gzip";
            await context.Response.Body.WriteAsync(packed.ToArray());
        });
        using var sink = new HttpSink(Plain, TimeProvider.System);
        Assert.Equal("AOO", Fates(await sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url }, Token)));
    }

    [Fact]
    public async Task An_answer_that_is_not_understood_is_logged_with_one_text_and_no_reading_is_dropped()
    {
        var log = new LogLines();
        var requests = 0;
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            await context.Request.Body.CopyToAsync(Stream.Null);
            if (Interlocked.Increment(ref requests) > 3) return;
            await context.Response.WriteAsJsonAsync(new { accepted = "most of them" });
        });
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 10, log: log);
        await http.UntilAsync(() => http.Forwarding.Forwarder.Status.Failures >= 3);
        Assert.Equal(10, http.Forwarding.Buffer.GetStatus().Depth);
        var warnings = log.All.Where(line => line.Contains("most of them", StringComparison.Ordinal)).ToList();
        Assert.All(warnings, line => Assert.StartsWith("<4>", line, StringComparison.Ordinal));

        // The same text each time, so that the log can collapse the lines.
        Assert.Single(warnings.Select(line => line[line.IndexOf("did not accept", StringComparison.Ordinal)..]
            .Split(" The batch is kept", StringSplitOptions.None)[0]).Distinct());
        Assert.Single(http.Forwarding.Http.Seen.Select(batch => batch.Id).Distinct());
        await http.UntilAsync(() => http.Forwarding.Buffer.GetStatus().Depth == 0);
    }

    [Fact]
    public async Task Whatever_the_answer_contains_no_reading_counts_as_accepted_unless_the_answer_says_so()
    {
        var near = Gen.Int[FirstId - 1, FirstId + Readings];
        var id = Gen.OneOf(
            near.Select(n => $"{n}"), near.Select(n => $"\"{n}\""), near.Select(n => $"{n}.0"), near.Select(n => $"{{\"id\":{n}}}"),
            OneOf("null", "\"x\"", "7.5", "{}", "[]", "true", "1e300", "-7", "\"7.0\"", "\" 7\""));
        var list = id.Array[0, Readings + 2].Select(items => $"[{string.Join(',', items)}]");
        var any = Gen.OneOf(
            list, list, list, id, OneOf("true", "false", "null", "0", "3", "\"3\"", "\"all\""),
            OneOf("{}", "{\"7\":\"x\"}", "1e400", "-0", "[[7,8,9]]"));
        var words = Gen.Select(OneOf("accepted", "Accepted", "ok"), any, OneOf("rejected", "REJECTED", "ok"), any);
        var answers = words.Select((accepted, a, rejected, r) => (
            Text: $"{{\"{accepted}\":{a},\"{rejected}\":{r}}}",
            A: accepted == "ok" ? null : a,
            R: rejected == "ok" ? null : r));
        foreach (var (text, a, r) in Some(answers, 3_000))
        {
            var fates = await FatesAsync(text);
            Assert.True(Ours.Index().All(item => fates[item.Index] switch
            {
                'A' => MayBeAccepted(item.Item, a, r),
                'R' => Has(r, item.Item),
                _ => true,
            }), $"{text}: {fates}");
        }
    }

    [Fact]
    public async Task However_a_receiver_writes_the_accepted_ids_no_reading_is_lost()
    {
        // The receiver has a definite result and writes it in one of many forms: no reading that it does not have may
        // count as accepted.
        var meanings = Gen.Select(OneOf("A", "R", "O").Array[Readings], Gen.Int[0, 5], Gen.Int[0, 5]);
        var answers = meanings.Select((fates, a, r) =>
        {
            long[] Of(string fate) => [.. Ours.Where((_, i) => fates[i] == fate)];
            var text = $"{{{Write("accepted", Of("A"), a)},{Write("rejected", Of("R"), r)}}}";
            return (Fates: string.Concat(fates), Text: text);
        });
        var understood = 0;
        foreach (var (fates, text) in Some(answers, 1_000))
        {
            var result = await FatesAsync(text);
            Assert.True(
                result.Zip(fates).All(pair => pair.First == 'O' || pair.First == pair.Second), $"{text}: {result} is not {fates}");
            if (result == fates) understood++;
        }

        Assert.InRange(understood, 500, 1_000);
    }

    static string Write(string word, long[] ids, int form) => form switch
    {
        0 => $"\"{word}\":[{string.Join(',', ids)}]",
        1 => $"\"{word}\":[{string.Join(',', ids.Select(id => $"\"{id}\""))}]",
        2 => $"\"{word}\":[{string.Join(',', ids.Select(id => $"{id}.0"))}]",
        3 => $"\"{word}\":[{string.Join(',', ids.Select(id => $"{{\"id\":\"{id}\",\"reason\":\"full\"}}"))}]",
        4 => $"\"{word.ToUpperInvariant()}\":[{string.Join(',', ids.Select(id => $"{{\"Id\":{id}}}"))}]",
        _ => $"\"{word}\":{ids.Length}",
    };

    /// <summary>Whether an answer may count as accepting a reading: it names the reading, or covers all of them.
    /// Written independently of the product.</summary>
    static bool MayBeAccepted(long id, string? accepted, string? rejected)
    {
        if (Has(rejected, id)) return false;
        var isNothingRejected = rejected is null or "null" or "[]" or "0" or "-0" or "\"0\"" or "false" or "0.0";
        var isAListRejected = rejected?.StartsWith('[') == true && Ours.Any(ours => Has(rejected, ours));
        if (!isNothingRejected && !isAListRejected) return false;
        if (accepted is null or "true" || Has(accepted, id)) return true;
        var others = Ours.Count(ours => !Has(rejected, ours));
        if (accepted.StartsWith('[')) return isNothingRejected && JsonNode.Parse(accepted)!.AsArray().Count >= Readings;
        return decimal.TryParse(accepted.Trim('"'), CultureInfo.InvariantCulture, out var count) && count == others;
    }

    /// <summary>Whether the answer contains the id, in any form.</summary>
    static bool Has(string? list, long id) => list?.StartsWith('[') == true
        && list.Split([',', '[', ']', '{', '}', ':', '"'], StringSplitOptions.RemoveEmptyEntries)
            .Any(part => part == $"{id}" || part == $"{id}.0");

    static List<T> Some<T>(Gen<T> gen, int count)
    {
        var values = new ConcurrentBag<T>();
        gen.Sample(values.Add, iter: count, threads: 1);
        return [.. values];
    }
}
