using System.Runtime.InteropServices;

namespace EdgeSimulator.Accounting;

/// <summary>
/// The number of readings sensed but not yet arrived over time, from each reading's timestamp and first arrival. A
/// reading is counted only once it has arrived. Not thread-safe.
/// </summary>
/// <remarks>A slot is one millisecond wide at first. Beyond <see cref="SlotsMax"/> slots the width doubles, so that
/// memory stays bounded. Within a slot, sensing counts before arrival.</remarks>
internal sealed class BacklogHistory
{
    public const int SlotsMax = 100_000;

    Dictionary<long, (int Sensed, int Arrived)> _slots = [];
    long _width = 1;

    public void Add(DateTimeOffset sensed, DateTimeOffset arrived)
    {
        // If the clock was set back, a reading would seem to arrive before it was sensed.
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
