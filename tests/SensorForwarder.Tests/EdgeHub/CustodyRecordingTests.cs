using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>Recordings of the real edgeHub: whenever the page is read, nothing that never arrived counts as delivered,
/// and everything that never arrived is sent again. A recording does not pause when <see cref="Custody"/> asks for it,
/// so a verdict that needs a pause follows only after the last message, and there are more delays and repeats than on a
/// device.</summary>
public sealed class CustodyRecordingTests(ITestOutputHelper output)
{
    // A recording ends soon after its last message; then nothing changes on the page.
    const double SecondsAfterEnd = 300;

    // The times of a recording are rounded.
    const double Rounding = 0.2;

    static string Folder => Environment.GetEnvironmentVariable("TEST_CUSTODY_RUNS") is { Length: > 0 } folder
        ? folder
        : Path.Combine(AppContext.BaseDirectory, "EdgeHub", "CustodyRuns");

    public static TheoryData<string> Files =>
        [.. Directory.GetFiles(Folder, "*.json").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_lost_message_is_sent_again_and_none_is_reported_as_delivered(string file)
    {
        var recording = CustodyRecording.Read(Path.Combine(Folder, file));
        var lost = recording.Messages.Count(message => message.Arrived is null);
        output.WriteLine($"{file[..file.IndexOf('-', StringComparison.Ordinal)]}: {recording.Messages.Count} messages, "
            + $"{lost} lost; {Summary(recording, 10)}; {Summary(recording, 60)}");
    }

    [Fact]
    public void There_are_recordings() => Assert.NotEmpty(Files);

    static string Summary(CustodyRecording recording, int interval)
    {
        var plays = Enumerable.Range(0, interval).Select(offset => Play.Of(recording, offset, interval)).ToList();
        foreach (var play in plays) play.Check();
        return $"every {interval} s: delivered {Range(plays.Select(play => play.Delivered.Count))}, "
            + $"sent again {Range(plays.Select(play => play.Returned.Count))}, "
            + $"reported lost {Range(plays.Select(play => play.Lost))}, "
            + $"longest delay {plays.Max(play => play.LongestDelay):0} s";
    }

    static string Range(IEnumerable<long> numbers)
    {
        var (least, most) = (numbers.Min(), numbers.Max());
        return least == most ? $"{least}" : $"{least}..{most}";
    }

    // The ids of the readings are the indexes of the messages.
    sealed class Play(CustodyRecording recording)
    {
        readonly Custody _custody = new(TimeSpan.Zero);
        int _acknowledged;

        public IdSet Delivered { get; private set; } = IdSet.Empty;

        public IdSet Returned { get; private set; } = IdSet.Empty;

        public long Lost { get; private set; }

        public double LongestDelay { get; private set; }

        public static Play Of(CustodyRecording recording, double offset, double interval)
        {
            var play = new Play(recording);
            var looks = recording.Looks;
            play.LookAtEmptyStore(looks.First(look => look.Page is not null).Page!.Instance);
            for (var time = offset; time <= looks[^1].Time + SecondsAfterEnd; time += interval)
            {
                var index = looks.TakeWhile(look => look.Time < time).Count();
                play.Look(index < looks.Count ? looks[index] : looks[^1] with { Time = time });
            }

            return play;
        }

        public void Check()
        {
            var unrouted = _custody.Unrouted.Values.Aggregate(IdSet.Empty, (all, ids) => all.Union(ids));
            for (var id = 0; id < recording.Messages.Count; id++)
            {
                var isSentAgain = Returned.Contains(id) || (recording.HasUnrouted && unrouted.Contains(id));
                if (recording.Messages[id].Arrived is null)
                    Assert.True(isSentAgain, $"message {id} of {recording.Case} never arrived and is not sent again");
            }
        }

        // Every recording begins with a new edgeHub, whose first message arrives some time after its start.
        void LookAtEmptyStore(string instance)
        {
            var page = CustodyRecording.Page(instance, received: 0, sent: 0, unrouted: [], queue: 0);
            Look(new(-10, 0, page));
            Look(new(0, 0, page));
        }

        void Look(CustodyRecording.Look look)
        {
            for (; _acknowledged < look.Acknowledged; _acknowledged++)
            {
                var (name, time) = ($"{_acknowledged}", recording.Messages[_acknowledged].Acknowledged);
                _custody.Sent(name, recording.Output(_acknowledged), IdSet.Of(_acknowledged, _acknowledged));
                _custody.Acknowledged(name, TimeSpan.FromSeconds(time));
            }

            _custody.ScrapeRequested(isConnected: true);
            Take(_custody.Scraped(look.Page, TimeSpan.FromSeconds(look.Time)), look.Time);
        }

        void Take(Verdict verdict, double time)
        {
            foreach (var id in Ids(verdict.Delivered))
            {
                Assert.True(
                    recording.Messages[id].Arrived <= time + Rounding,
                    $"message {id} of {recording.Case} was called delivered at {time} s");
            }

            Delivered = Delivered.Union(verdict.Delivered);
            Returned = Returned.Union(verdict.Returned);
            Lost += verdict.Lost;
            foreach (var id in Ids(verdict.Delivered.Union(verdict.Returned)))
                LongestDelay = Math.Max(LongestDelay, time - recording.Messages[id].Acknowledged);
        }

        static IEnumerable<int> Ids(IdSet set) =>
            set.SelectMany(range => Enumerable.Range((int)range.First, (int)range.Count));
    }
}
