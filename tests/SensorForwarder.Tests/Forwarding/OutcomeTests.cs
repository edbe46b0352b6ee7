using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The failure table: the outcome of each answer to a batch.</summary>
public sealed class OutcomeTests
{
    static readonly Batch Four = PlanTests.Batch(1, 4);
    static readonly Batch One = PlanTests.Batch(1, 1);

    static Outcome Apply(Batch batch, SendResult result, int room = 5) => Outcome.Apply(batch, result, room);

    /// <summary>Accepted | dead letters | parts | sent again unchanged.</summary>
    static string Text(Outcome outcome)
    {
        static string Ids(IEnumerable<long> ids) => string.Join(' ', ids);
        return $"{Ids(outcome.Accepted.Select(r => r.Id))} | {Ids(outcome.DeadLetters.Select(a => a.Reading.Id))} | "
            + $"{string.Join(", ", outcome.Parts.Select(part => Ids(part.Select(r => r.Id))))} | {outcome.Again?.Id}";
    }

    [Theory]
    [InlineData(nameof(SendOutcome.Accepted), "1 2 3 4 |  |  | ")]
    [InlineData(nameof(SendOutcome.Retry), " |  |  | epoch:1-4")]
    [InlineData(nameof(SendOutcome.Denied), " |  |  | epoch:1-4")]
    [InlineData(nameof(SendOutcome.TooLarge), " |  | 1 2, 3 4 | ")]
    [InlineData(nameof(SendOutcome.Rejected), " |  | 1 2, 3 4 | ")]
    public void An_answer_to_a_whole_batch_has_the_listed_outcome(string answer, string becomes) =>
        Assert.Equal(becomes, Text(Apply(Four, new(Enum.Parse<SendOutcome>(answer)))));

    [Theory]
    [InlineData(nameof(SendOutcome.TooLarge))]
    [InlineData(nameof(SendOutcome.Rejected))]
    public void A_single_rejected_reading_is_dead_lettered_if_the_limit_of_rejections_in_a_row_allows(string answer)
    {
        var result = new SendResult(Enum.Parse<SendOutcome>(answer), "no");
        var outcome = Apply(One, result);
        Assert.Equal((" | 1 |  | ", 1, answer), (Text(outcome), outcome.Rejected, outcome.DeadLetters[0].Reason));
        var kept = Apply(One, result, room: 0);
        Assert.Equal((" |  |  | epoch:1-1", false), (Text(kept), kept.Again!.MayHaveArrived));
        Assert.Contains("dead-lettering one an hour", kept.Error);
    }

    [Theory]
    [InlineData("", "2", "1 3 4 | 2 |  | ")] // all accepted except the rejected one
    [InlineData("1 4", "", "1 4 |  | 2 3 | ")]
    [InlineData("2", "3", "2 | 3 | 1, 4 | ")]
    [InlineData("1 2 3 4", "", "1 2 3 4 |  |  | ")]
    [InlineData("", "1 2 3 4", " | 1 2 3 4 |  | ")]
    public void An_answer_about_single_readings_has_the_listed_outcome(string accepted, string rejected, string becomes) =>
        Assert.Equal(becomes, Text(Apply(Four, Partial(accepted, rejected))));

    [Fact]
    public void A_receiver_that_rejects_every_reading_causes_no_more_dead_letters_than_the_limit_allows()
    {
        var outcome = Apply(Four, Partial("", "1 2 3 4"), room: 2);
        Assert.Equal((" | 1 2 | 3 4 | ", 2), (Text(outcome), outcome.Rejected));
        Assert.Equal(0, Apply(Four, Partial("", "2")).Rejected);
    }

    [Fact]
    public void A_success_that_accepts_no_reading_is_a_failure()
    {
        var outcome = Apply(Four, SendResult.Accepted with { Partial = new(new HashSet<long>(), new Dictionary<long, string>()) });
        Assert.Equal((" |  |  | epoch:1-4", SendOutcome.Denied), (Text(outcome), outcome.Result.Outcome));
    }

    [Fact]
    public void A_batch_records_whether_it_may_have_arrived_and_what_a_later_409_means()
    {
        var notSent = Apply(Four, new SendResult(SendOutcome.Retry) { NotSent = true }).Again!;
        Assert.False(notSent.MayHaveArrived);
        var denied = Apply(Four, new(SendOutcome.Denied)).Again!;
        Assert.Equal((true, ConflictMeaning.Denied), (denied.MayHaveArrived, denied.Conflict));
        Assert.Equal(ConflictMeaning.Stored, Apply(denied, new(SendOutcome.Retry)).Again!.Conflict);
        Assert.Equal(ConflictMeaning.Denied, Apply(denied, new SendResult(SendOutcome.Retry) { IsFromElsewhere = true }).Again!.Conflict);
        Assert.Equal(ConflictMeaning.Other, Apply(denied, new SendResult(SendOutcome.Denied) { IsConflict = true }).Again!.Conflict);
        Assert.Equal(1, Apply(Four, new SendResult(SendOutcome.Retry) { IsLate = true }).Again!.Timeouts);
    }

    static SendResult Partial(string accepted, string rejected)
    {
        static long[] Ids(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(long.Parse)];
        return SendResult.Accepted with
        {
            Partial = new(accepted == "" ? null : Ids(accepted).ToHashSet(), Ids(rejected).ToDictionary(id => id, _ => "no")),
        };
    }
}
