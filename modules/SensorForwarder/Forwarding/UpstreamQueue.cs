namespace SensorForwarder.Forwarding;

/// <summary>
/// Decides from edgeHub's own numbers whether what it gets still reaches the cloud. edgeHub acknowledges what it has
/// stored, also while it is offline; only its queue tells.
/// </summary>
internal sealed class UpstreamQueue
{
    // A queue of so many messages is edgeHub's share of a slow line; beyond it, more only wait there instead of here.
    const double LongQueue = 500;

    // A page that fails so often in a row says nothing any more.
    const int UnknownAfter = 3;

    double? _sentBefore;
    double _lengthBefore;
    int _unknown;

    /// <summary>What is not sent yet is better kept here.</summary>
    public bool IsHolding { get; private set; }

    /// <summary>Another look at the page.</summary>
    /// <param name="length">Messages that wait in edgeHub for the cloud; null: the page does not say.</param>
    /// <param name="sent">Messages that it has sent to the cloud since it started; null: the page does not say.</param>
    public void Look(double? length, double? sent)
    {
        if (length is not { } now)
        {
            _sentBefore = null;
            if (++_unknown >= UnknownAfter) IsHolding = false;
            return;
        }

        // Something waits, and none of it has left since the last look. A counter that fell was begun anew.
        _unknown = 0;
        var isStanding = now > 0 && _lengthBefore > 0 && _sentBefore is not null && (sent ?? 0) == _sentBefore;
        if (isStanding || now > LongQueue) IsHolding = true;
        else if (now == 0 || (now < _lengthBefore && now < LongQueue / 2)) IsHolding = false;
        (_lengthBefore, _sentBefore) = (now, sent ?? 0);
    }
}
