using CsCheck;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Random sequences of all operations, compared with a list in memory.</summary>
public sealed class ModelTests
{
    static readonly Gen<Step> AnyStep = Gen.Frequency(
        (8, Gen.Int[1, 40].Select(count => (Step)new Step.Enqueue(count))),
        (4, Gen.Select(Gen.Int[0, 120], Gen.Int[1, 60], Gen.Int[1, 6_000]).Select(
            (after, count, bytes) => (Step)new Step.Peek(after, count, bytes))),
        (4, Gen.Select(Gen.Int[0, 120], Gen.Int[0, 50]).Select(
            (first, more) => (Step)new Step.Acknowledge(first, first + more))),
        (1, Gen.Const((Step)new Step.AcknowledgeAll())),
        (2, Gen.Int[0, 120].Select(id => (Step)new Step.DeadLetter(id))),
        (1, Gen.Const((Step)new Step.RetryDeadLetters())),
        (1, Gen.Const((Step)new Step.PurgeDeadLetters())),
        (2, Gen.Const((Step)new Step.Reopen())),
        (1, Gen.Const((Step)new Step.Idle())),
        (1, Gen.Int[-100_000, 100_000].Select(seconds => (Step)new Step.ClockStep(seconds))),
        (1, Gen.Int[0, 9].Select(text => (Step)new Step.Save($"text {text}"))));

    abstract record Step
    {
        public sealed record Enqueue(int Count) : Step;

        public sealed record Peek(int After, int Count, int Bytes) : Step;

        public sealed record Acknowledge(int First, int Last) : Step;

        public sealed record AcknowledgeAll : Step;

        public sealed record DeadLetter(int Id) : Step;

        public sealed record RetryDeadLetters : Step;

        public sealed record PurgeDeadLetters : Step;

        public sealed record Reopen : Step;

        public sealed record Idle : Step;

        public sealed record ClockStep(int Seconds) : Step;

        public sealed record Save(string Text) : Step;
    }

    static long Runs => Tier.Size("TEST_BUFFER_MODEL_RUNS", quick: 6, full: 200, deep: 2_000);

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    public Task The_buffer_behaves_like_a_list_in_memory(int retainMinutes) => AnyStep.Array[1, 40].SampleAsync(
        async steps =>
        {
            await using var model = await Model.CreateAsync(TimeSpan.FromMinutes(retainMinutes));
            foreach (var step in steps)
                await model.DoAsync(step);
        },
        writeLine: line => TestContext.Current.TestOutputHelper?.WriteLine(line), iter: Runs, threads: 2);

    sealed class Model(TimeSpan retain) : IAsyncDisposable
    {
        readonly BufferFixture _fixture = new();
        readonly FakeTimeProvider _time = new(BufferFixture.Noon);
        readonly SortedDictionary<long, string> _queue = [];
        readonly SortedDictionary<long, string> _deadLetters = [];
        readonly SortedDictionary<long, string> _forwarded = [];
        readonly Dictionary<long, TimeSpan> _takenAt = [];
        TimeSpan _uptime = TimeSpan.FromMinutes(1);
        TelemetryBuffer _buffer = null!;
        readonly Dictionary<long, string> _epochs = [];
        string? _document;
        long _lastId;

        public static async Task<Model> CreateAsync(TimeSpan retain)
        {
            var model = new Model(retain);
            await model.OpenAsync();
            return model;
        }

        public async Task DoAsync(Step step)
        {
            switch (step)
            {
                case Step.Enqueue(var count):
                    await EnqueueAsync(count);
                    break;
                case Step.Peek(var after, var count, var bytes):
                    Peek(after, count, bytes);
                    break;
                case Step.Acknowledge(var first, var last):
                    await _buffer.AcknowledgeAsync(first, last, BufferFixture.Token);
                    Remove(first, last);
                    break;
                case Step.AcknowledgeAll:
                    await _buffer.AcknowledgeAsync(1, Math.Max(1, _lastId), BufferFixture.Token);
                    Remove(1, _lastId);
                    break;
                case Step.DeadLetter(var id):
                    await _buffer.DeadLetterAsync(id, "400", "no", BufferFixture.Token);
                    if (_queue.Remove(id, out var refused))
                        _deadLetters[id] = refused;
                    break;
                case Step.RetryDeadLetters:
                    Assert.Equal(_deadLetters.Count, await _buffer.RetryDeadLettersAsync(BufferFixture.Token));
                    // Delivered readings may be dropped to make room.
                    if (_deadLetters.Count > 0)
                        _forwarded.Clear();
                    foreach (var (id, text) in _deadLetters)
                        _queue[id] = text;
                    _deadLetters.Clear();
                    break;
                case Step.PurgeDeadLetters:
                    Assert.Equal(_deadLetters.Count, await _buffer.PurgeDeadLettersAsync(BufferFixture.Token));
                    _deadLetters.Clear();
                    break;
                case Step.Reopen:
                    await _buffer.DisposeAsync();
                    await OpenAsync();
                    break;
                case Step.Idle:
                    Pass(TimeSpan.FromMinutes(1));
                    break;
                case Step.ClockStep(var seconds):
                    // Steps the wall clock only.
                    _time.AdjustTime(_time.GetUtcNow().AddSeconds(seconds));
                    break;
                case Step.Save(var text):
                    await _buffer.SaveDocumentAsync(
                        "text", System.Text.Encoding.UTF8.GetBytes(text), BufferFixture.Token);
                    _document = text;
                    break;
                default:
                    Assert.Fail($"{step}");
                    break;
            }
            Check();
        }

        public async ValueTask DisposeAsync()
        {
            await _buffer.DisposeAsync();
            _fixture.Dispose();
        }

        async Task OpenAsync() => _buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { RetainForwarded = retain }, _time,
            with: o => o with { KernelTime = () => new KernelTime(_uptime, "boot", Synchronized: true) });

        async Task EnqueueAsync(int count)
        {
            var tasks = new List<Task<long>>();
            for (var i = 1; i <= count; i++)
                tasks.Add(_buffer.EnqueueAsync(BufferFixture.Reading((int)_lastId + i), BufferFixture.Token).AsTask());
            foreach (var task in tasks)
            {
                Assert.Equal(++_lastId, await task);
                _epochs[_lastId] = _buffer.Epoch;
                _takenAt[_lastId] = BufferFixture.Reading((int)_lastId).Time - (_time.GetUtcNow() - _uptime);
                _queue[_lastId] = System.Text.Encoding.UTF8.GetString(
                    ReadingEncoder.Encode(BufferFixture.Reading((int)_lastId)));
            }
        }

        void Peek(int after, int count, int bytes)
        {
            var expected = new List<long>();
            var sum = 0;
            foreach (var (id, text) in _queue.Where(r => r.Key > after).Take(count))
            {
                sum += text.Length;
                if (expected.Count > 0 && (sum > bytes || _epochs[id] != _epochs[expected[0]]))
                    break;
                expected.Add(id);
            }
            // The buffer may return less, because it allows for the mark of an unsynchronised time.
            var actual = _buffer.PeekBatch(after, count, bytes).Select(r => r.Id).ToList();
            Assert.Equal(expected.Take(actual.Count), actual);
            Assert.InRange(actual.Count, Math.Max(expected.Count - 1, Math.Min(1, expected.Count)), expected.Count);
        }

        void Remove(long first, long last)
        {
            foreach (var id in _queue.Keys.Where(id => id >= first && id <= last).ToList())
            {
                _queue.Remove(id, out var text);
                _forwarded[id] = text!;
            }
        }

        void Pass(TimeSpan time)
        {
            _uptime += time;
            _time.Advance(time);
        }

        // All waiting readings are there, and at least the retained ones of those delivered, unchanged.
        void CheckForwarded()
        {
            var rows = BufferFixture.ReadAny(_buffer, batch: 13);
            Assert.Equal(rows.Select(r => r.Id).Order(), rows.Select(r => r.Id));
            var any = rows.ToDictionary(r => r.Id, BufferFixture.Text);
            Assert.Equal(_queue, any.Where(r => _queue.ContainsKey(r.Key)));
            Assert.DoesNotContain(any.Keys, _deadLetters.ContainsKey);
            foreach (var (id, text) in _forwarded.Where(r => retain > TimeSpan.Zero && _uptime - _takenAt[r.Key] < retain))
                Assert.Equal(text, any[id]);
        }

        void Check()
        {
            Assert.Equal(_lastId, _buffer.LastCommittedId);
            Assert.Equal(
                _queue.Select(r => (r.Key, r.Value)),
                BufferFixture.ReadAll(_buffer, batch: 17).Select(r => (r.Id, BufferFixture.Text(r))));
            Assert.All(BufferFixture.ReadAll(_buffer), r => Assert.Equal(_epochs[r.Id], r.Epoch));
            CheckForwarded();
            Assert.Equal(_deadLetters.Keys, _buffer.ListDeadLetters(0, int.MaxValue).Select(l => l.Id));
            var status = _buffer.GetStatus();
            Assert.Equal((_queue.Count, _deadLetters.Count), (status.Depth, status.DeadLetters));
            Assert.Empty(status.Evicted);
            var document = _buffer.LoadDocument("text");
            Assert.Equal(_document, document is { } d ? System.Text.Encoding.UTF8.GetString(d.Span) : null);
        }
    }
}
