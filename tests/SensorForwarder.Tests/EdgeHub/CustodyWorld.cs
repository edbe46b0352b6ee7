using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>A model of a forwarder that uses <see cref="Custody"/> with a <see cref="CustodyHub"/>, in small steps.
/// Checks after each step that every reading has exactly one state, and that no reading counts as delivered that has
/// not arrived.</summary>
internal sealed class CustodyWorld
{
    const int RoundsWithReadings = 60;

    static readonly string[] Outputs = ["live", "backfill", "replay"];
    static readonly string[] Families = ["received", "sent", "dropped", "gauge"];

    readonly CustodyHub _hub = new();
    readonly List<(string MessageId, string Output, IdSet Ids, bool IsReceived)> _inFlight = [];
    Custody _custody = new(TimeSpan.Zero);
    string _books = new Custody(TimeSpan.Zero).ToString();
    IdSet _waiting = IdSet.Empty;
    IdSet _delivered = IdSet.Empty;
    long _lastId;
    int _messages;
    TimeSpan _now;

    /// <summary>All events of the model.</summary>
    public enum Step
    {
        Publish, PublishOnly, Receive, Acknowledge, Disconnect, Other, Send, SendAll, SendUnacknowledged, Discard,
        Expire, CleanUp, RestartHub, Scrape, ScrapeSoon, ScrapeTorn, Miss, RestartModule, ChangeRoute,
    }

    public IdSet Readings => IdSet.Of(1, _lastId);

    public IdSet Delivered => _delivered;

    public void Do(Step step, int number)
    {
        switch (step)
        {
            case Step.Publish: Read(); Publish(number); Receive(); Acknowledge(); break;
            case Step.PublishOnly: Read(); Publish(number); break;
            case Step.Receive: Receive(); break;
            case Step.Acknowledge: Acknowledge(); break;
            case Step.Disconnect: Disconnect(); break;
            case Step.Other: _hub.ReceiveFromOther(); break;
            case Step.Send: _hub.Send(1 + number, isAcknowledged: true); break;
            case Step.SendAll: SendAll(); break;
            case Step.SendUnacknowledged: _hub.Send(1 + number, isAcknowledged: false); break;
            case Step.Discard: _hub.Discard(1 + number); break;
            case Step.Expire: _hub.Expire(1 + number); break;
            case Step.CleanUp: CleanUp(number); break;
            case Step.RestartHub: _hub.Restart(); Disconnect(); break;
            case Step.Scrape: Scrape(Custody.IdleTime, number, () => { }); break;
            case Step.ScrapeSoon: Scrape(Custody.ScrapeIntervalInPause, number, () => { }); break;
            case Step.ScrapeTorn: Scrape(Custody.IdleTime, number, () => Meanwhile(number)); break;
            case Step.Miss: Miss(); break;
            case Step.RestartModule: RestartModule(); break;
            case Step.ChangeRoute: ChangeRoute(Outputs[number % Outputs.Length]); break;
        }

        Check();
    }

    /// <summary>Runs without disturbances until everything should be delivered.</summary>
    public void Recover()
    {
        _hub.OutputsWithoutRoute.Clear();
        CleanUp(0);
        for (var round = 0; round < 2 * RoundsWithReadings; round++)
        {
            while (_inFlight.Count > 0)
            {
                Receive();
                Acknowledge();
            }

            SendAll();
            Scrape(_custody.NextScrape - _now, round, () => { });
            if (round < RoundsWithReadings) Read();
            if (!_waiting.IsEmpty) Publish(round);
            Check();
        }
    }

    public void SendAll()
    {
        while (_hub.Stored > 0) _hub.Send(int.MaxValue, isAcknowledged: true);
    }

    void Read() => _waiting = _waiting.Union(IdSet.Of(_lastId + 1, ++_lastId));

    void Publish(int number)
    {
        if (_custody.IsPausing || _waiting.IsEmpty) return;
        var (ids, output, messageId) = (_waiting.Take(2), Outputs[number % Outputs.Length], $"{++_messages}");
        _waiting = _waiting.Except(ids);
        _inFlight.Add((messageId, output, ids, false));
        _custody.Sent(messageId, output, ids);
    }

    void Receive()
    {
        var index = _inFlight.FindIndex(message => !message.IsReceived);
        if (index < 0) return;
        _hub.Receive(_inFlight[index].Output, _inFlight[index].Ids);
        _inFlight[index] = _inFlight[index] with { IsReceived = true };
    }

    void Acknowledge()
    {
        if (_inFlight is not [{ IsReceived: true } first, ..]) return;
        _inFlight.RemoveAt(0);
        Assert.True(_custody.Acknowledged(first.MessageId, _now).IsEmpty);
    }

    // Messages that edgeHub has received stay in its store, but their acknowledgements are lost.
    void Disconnect()
    {
        foreach (var (messageId, _, ids, _) in _inFlight)
        {
            _custody.Abandoned(messageId);
            _waiting = _waiting.Union(ids);
        }

        _inFlight.Clear();
    }

    void Scrape(TimeSpan interval, int number, Action meanwhile)
    {
        _now += interval;
        _custody.ScrapeRequested(isConnected: true);

        // edgeHub reads the metric families one after the other, in any order.
        var text = "";
        for (var i = 0; i < Families.Length; i++)
        {
            var family = Families[(i + number) % Families.Length];
            text += family == "gauge" ? _hub.Gauge() : _hub.Counters(family);
            meanwhile();
        }

        Take(_custody.Scraped(MetricsPage.TryParse(text, CustodyHub.Client), _now));
    }

    // Events while a page is read.
    void Meanwhile(int number)
    {
        if (number % 4 == 3) Publish(number);
        if (number % 4 != 1) Receive();
        if (number % 4 != 0) _hub.Send(1, isAcknowledged: true);
        if (number % 4 == 3) Acknowledge();
    }

    // edgeHub's first cleanup is half an hour after its start.
    void CleanUp(int number)
    {
        _hub.CleanUp();
        Scrape(TimeSpan.FromMinutes(30), number, () => { });
    }

    // A page is missing only after one was seen: without one, an acknowledgement would count as delivery.
    void Miss()
    {
        if (!_custody.ConfirmsCloud) return;
        _now += Custody.IdleTime;
        _custody.ScrapeRequested(isConnected: true);
        Take(_custody.Scraped(null, _now));
    }

    void Take(Verdict verdict)
    {
        var wrong = verdict.Delivered.Except(_hub.Arrived);
        Assert.True(wrong.IsEmpty, $"called delivered and did not arrive: {string.Join(", ", wrong)}");
        _delivered = _delivered.Union(verdict.Delivered);
        _waiting = _waiting.Union(verdict.Returned);
        _books = _custody.ToString();
    }

    void RestartModule()
    {
        _inFlight.Clear();
        _custody = Custody.TryParse(_books, _now) ?? throw new InvalidOperationException($"unreadable: {_books}");
        _waiting = Readings.Except(_delivered).Except(InCustody());
    }

    void ChangeRoute(string output)
    {
        if (!_hub.OutputsWithoutRoute.Remove(output)) _hub.OutputsWithoutRoute.Add(output);
    }

    void Check()
    {
        var inFlight = _inFlight.Aggregate(IdSet.Empty, (all, message) => all.Union(message.Ids));
        IdSet[] places = [_waiting, inFlight, InCustody(), _delivered];
        Assert.Equal(Readings.Count, places.Sum(place => place.Count));
        Assert.Equal(Readings, places.Aggregate(IdSet.Empty, (all, place) => all.Union(place)));
    }

    IdSet InCustody() => _custody.Unrouted.Values.Aggregate(_custody.HandedOver, (all, ids) => all.Union(ids));
}
