using CsCheck;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Readings;

public sealed class IdSetTests
{
    static readonly Gen<SortedSet<long>> AnyIds = Gen.Select(Gen.Long[0, 60], Gen.Long[0, 9])
        .Select((first, more) => Enumerable.Range(0, (int)more + 1).Select(i => first + i))
        .Array[0, 8].Select(runs => new SortedSet<long>(runs.SelectMany(run => run)));

    [Fact]
    public void An_id_set_contains_exactly_its_ids() => AnyIds.Sample(ids =>
    {
        var set = IdSet.Of(ids);
        AssertSame(ids, set);
        for (var id = 0L; id < 75; id++)
        {
            Assert.Equal(ids.Contains(id), set.Contains(id));
            Assert.Equal(Missing(ids, id), set.FirstMissingFrom(id));
            for (var last = id; last < 75; last++)
                Assert.Equal(Enumerable.Range((int)id, (int)(last - id + 1)).All(i => ids.Contains(i)), set.ContainsAll(id, last));
        }
    });

    [Fact]
    public void Union_except_and_intersect_match_those_of_ordinary_sets() => Gen.Select(AnyIds, AnyIds).Sample((a, b) =>
    {
        var (left, right) = (IdSet.Of(a), IdSet.Of(b));
        AssertSame(a.Union(b), left.Union(right));
        AssertSame(a.Except(b), left.Except(right));
        AssertSame(a.Intersect(b), left.Intersect(right));
        Assert.Equal(left, left.Except(right).Union(left.Intersect(right)));
    });

    [Fact]
    public void Take_returns_the_lowest_ids() => Gen.Select(AnyIds, Gen.Int[0, 90]).Sample((ids, count) =>
        AssertSame(ids.Order().Take(count), IdSet.Of(ids).Take(count)));

    [Fact]
    public void The_text_of_an_id_set_parses_to_an_equal_set() => AnyIds.Sample(ids =>
    {
        var set = IdSet.Of(ids);
        Assert.Equal(set, IdSet.TryParse(set.ToString()));
        Assert.Equal(set.GetHashCode(), IdSet.TryParse(set.ToString())!.GetHashCode());
    });

    [Fact]
    public void The_text_of_an_id_set_is_compact()
    {
        Assert.Equal("5+4 3", IdSet.OfRanges([new(12, 12), new(5, 9)]).ToString());
        Assert.Equal("", IdSet.Empty.ToString());
        var scattered = IdSet.Of(Enumerable.Range(0, 1_024).Select(i => 1_000_000_000_000L + (3 * i)));
        Assert.InRange(scattered.ToString().Length, 1, 2_200);
    }

    [Theory]
    [InlineData(" ")]
    [InlineData("1 1")]
    [InlineData("1+0")]
    [InlineData("-1")]
    [InlineData("1+2+3")]
    [InlineData("a")]
    [InlineData("1  3")]
    [InlineData("9223372036854775807")]
    [InlineData("4611686018427387904+1")]
    [InlineData("99999999999999999999")]
    public void Any_other_text_is_rejected(string text) => Assert.Null(IdSet.TryParse(text));

    [Fact]
    public void A_range_whose_last_id_is_below_the_first_is_empty()
    {
        Assert.True(IdSet.Of(2, 1).IsEmpty);
        Assert.True(IdSet.OfRanges([new(2, 1)]).IsEmpty);
        Assert.Throws<InvalidOperationException>(() => IdSet.Empty.First);
        Assert.Throws<InvalidOperationException>(() => IdSet.Empty.Last);
    }

    static long Missing(SortedSet<long> ids, long from)
    {
        while (ids.Contains(from))
            from++;
        return from;
    }

    static void AssertSame(IEnumerable<long> ids, IdSet set)
    {
        var expected = ids.Order().Distinct().ToList();
        Assert.Equal(expected, set.SelectMany(range => Enumerable.Range(0, (int)range.Count).Select(i => range.First + i)));
        Assert.Equal(expected.Count, set.Count);
        Assert.Equal(expected.Count == 0, set.IsEmpty);
        if (expected.Count > 0)
            Assert.Equal((expected[0], expected[^1]), (set.First, set.Last));
        // Ranges must not be adjacent, so that equal sets have equal ranges.
        Assert.All(set.Zip(set.Skip(1)), pair => Assert.True(pair.Second.First > pair.First.Last + 1));
    }
}
