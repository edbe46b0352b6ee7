using CsCheck;
using EdgeSimulator.Accounting;

namespace SensorForwarder.Tests.Simulator;

public sealed class IdRangesTests
{
    [Fact]
    public void Ranges_contain_the_same_ids_as_a_set() =>
        Gen.Select(Gen.Long[1, 50], Gen.Long[0, 9], Gen.Bool).Array[0, 60].Sample(steps =>
        {
            var ranges = new IdRanges();
            var set = new SortedSet<long>();
            foreach (var (first, more, single) in steps)
            {
                if (single)
                {
                    Assert.Equal(set.Add(first), ranges.Add(first));
                }
                else
                {
                    ranges.AddRange(first, first + more);
                    set.UnionWith(Ids(first, first + more));
                }
            }

            Assert.Equal(set, ranges.Ranges.SelectMany(range => Ids(range.First, range.Last)));
            Assert.Equal(set.Count, ranges.Count);
            Assert.Equal(set.Count == 0 ? 0 : set.Max, ranges.Max);
            Assert.Equal(Ids(5, 55).Where(id => !set.Contains(id)), ranges.Holes(5, 55).SelectMany(hole => Ids(hole.First, hole.Last)));
            Assert.All(Ids(1, 60), id => Assert.Equal(set.Contains(id), ranges.Contains(id)));

            // Ranges are never adjacent, so that memory grows only with the number of gaps.
            Assert.All(ranges.Ranges.Zip(ranges.Ranges.Skip(1)), pair => Assert.True(pair.First.Last + 1 < pair.Second.First));
        });

    [Theory]
    [InlineData(7, 7, "7")]
    [InlineData(5, 9, "5-9")]
    public void Text_of_a_range_is_compact(long first, long last, string text) => Assert.Equal(text, IdRanges.Text((first, last)));

    static IEnumerable<long> Ids(long first, long last)
    {
        for (var id = first; id <= last; id++)
        {
            yield return id;
        }
    }
}
