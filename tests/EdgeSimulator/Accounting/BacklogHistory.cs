using System.Runtime.InteropServices;

namespace EdgeSimulator.Accounting;

/// <summary>
/// How many readings were sensed and not yet here, at every moment, from each reading's own time and its first arrival. Known
/// only afterwards: what waits at this moment shows up when it has arrived. Not thread-safe.
/// </summary>
/// <remarks>Moments are kept to the millisecond; when there are more than <see cref="SlotsMax"/>, slots double their width, so that
/// a run of days stays small. Within a slot, everything sensed counts before anything arrives.</remarks>
internal sealed class BacklogHistory
{
    public const int SlotsMax = 100_000;

    Dictionary<long, (int Sensed, int Arrived)> _slots = [];
    long _width = 1;

    public void Add(DateTimeOffset sensed, DateTimeOffset arrived)
    {
        // A clock that was set back must not make a reading arrive before it was sensed.
        var from = Slot(sensed);
        var to = Math.Max(from, Slot(arrived));
        CollectionsMarshal.GetValueRefOrAddDefault(_slots, from, out _).Sensed++;
        CollectionsMarshal.GetValueRefOrAddDefault(_slots, to, out _).Arrived++;
        if (_slots.Count > SlotsMax)
        {
            Widen();
        }
    }

    public long Max()
    {
        var (waiting, max) = (0L, 0L);
        foreach (var (_, (sensed, arrived)) in _slots.OrderBy(slot => slot.Key))
        {
            waiting += sensed;
            max = Math.Max(max, waiting);
            waiting -= arrived;
        }

        return max;
    }

    long Slot(DateTimeOffset moment) => moment.ToUnixTimeMilliseconds() / _width;

    void Widen()
    {
        _width *= 2;
        var wider = new Dictionary<long, (int Sensed, int Arrived)>(_slots.Count);
        foreach (var (slot, (sensed, arrived)) in _slots)
        {
            var known = wider.GetValueOrDefault(slot / 2);
            wider[slot / 2] = (known.Sensed + sensed, known.Arrived + arrived);
        }

        _slots = wider;
    }
}
