using System.Collections.ObjectModel;

namespace EdgeSimulator.Accounting;

/// <summary>
/// Counts arrivals, losses and duplicates of all readings by (device, module, epoch, id), over MQTT and HTTP.
/// Thread-safe. Memory grows with the number of gaps in the ids, not of readings.
/// </summary>
/// <remarks>A duplicate is explained if an event justifies that a correct module sends its id again: the id was in
/// flight (not acknowledged, or so recently that the module may not have processed the acknowledgement), or edgeHub
/// lost messages or its counters, so that the module cannot know which readings have arrived.</remarks>
internal sealed class Ledger(TimeProvider time)
{
    /// <summary>Time after its acknowledgement for which a batch counts as in flight: the PUBACK may be on the wire, or
    /// the module may not have committed it.</summary>
    public static readonly TimeSpan AcknowledgementGrace = TimeSpan.FromSeconds(2);

    /// <summary>Assumed minimum interval between the module's scrapes of edgeHub's metrics page. Readings sent since
    /// its last scrape may be sent again.</summary>
    public static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(15);

    /// <summary>Time within which a module that scrapes the metrics page detects a loss in edgeHub.</summary>
    public static readonly TimeSpan DoubtTime = TimeSpan.FromMinutes(10);

    /// <summary>More than any module has in flight. Beyond it, the oldest receipts are removed.</summary>
    const int InFlightMax = 4096;

    readonly Lock _lock = new();
    readonly Dictionary<EpochKey, EpochAccount> _epochs = [];
    readonly Dictionary<(string Device, string Module), ModuleAccount> _modules = [];
    readonly LinkedList<Receipt> _inFlight = new();
    readonly BacklogHistory _backlog = new();

    // Why the module cannot know which of its readings have arrived. Null once it has sent them again or has been able
    // to see that all have arrived.
    string? _doubt;
    long _doubtSince;
    long _confirmed;
    LastBatch? _last;
    long _batches;
    long _messages;
    long _bytes;

    /// <summary>Counts a message that has arrived. Returns null and the problem if it is not a batch.</summary>
    public Receipt? Record(ReadOnlyMemory<byte> body, out string? problem)
    {
        var receipt = Take(body, isStored: false, out problem);
        if (receipt is not null)
        {
            Count(receipt);
        }

        return receipt;
    }

    /// <summary>Records a message that edgeHub accepts, before it arrives. Returns null and the problem if it is not a
    /// batch.</summary>
    public Receipt? Accept(ReadOnlyMemory<byte> body, out string? problem) => Take(body, isStored: true, out problem);

    /// <summary>Counts the readings of a recorded message as arrived.</summary>
    public void Count(Receipt receipt)
    {
        var now = time.GetUtcNow();
        lock (_lock)
        {
            _messages++;
            _bytes += receipt.Bytes;
            _batches++;
            foreach (var item in receipt.Items)
            {
                if (receipt.Account.Add(item) && item.Sensed is { } sensed)
                {
                    _backlog.Add(sensed, now);
                }
            }

            if (receipt.Items is [var first, ..] and [.., var last])
            {
                _last = new LastBatch(first.Id, last.Id, receipt.Bytes, now - last.Sensed);
            }
        }
    }

    public void Acknowledge(Receipt receipt)
    {
        lock (_lock)
        {
            receipt.AcknowledgedAt ??= time.GetTimestamp();
        }
    }

    /// <summary>Lets the cause explain duplicates of everything in flight.</summary>
    public void Interrupted(string cause)
    {
        lock (_lock)
        {
            foreach (var receipt in _inFlight.Where(IsInFlight))
            {
                receipt.Account.MayRepeat(cause, receipt.Ids);
            }
        }
    }

    /// <summary>Counts a message that edgeHub acknowledged and lost.</summary>
    public void Drop(Receipt? receipt)
    {
        if (receipt is not null)
        {
            lock (_lock)
            {
                receipt.Account.LostByHub += receipt.Items.Count;
            }
        }
    }

    /// <summary>The module can no longer know which readings in edgeHub arrive, and may send all of them
    /// again.</summary>
    /// <param name="cause">The reason, one of <see cref="Causes"/>.</param>
    public void Doubt(string cause)
    {
        lock (_lock)
        {
            (_doubt, _doubtSince) = (_doubt ?? cause, time.GetTimestamp());
            DoubtAll(cause);
        }
    }

    /// <summary>The module has ended, and may not have stored its latest acknowledgements and scrapes.</summary>
    public void ModuleEnded(string cause)
    {
        Interrupted(cause);
        lock (_lock)
        {
            DoubtAll(cause);
        }
    }

    /// <summary>The metrics page was scraped, by the module or by another client. The module is assumed to know the
    /// page's content only after <see cref="LookInterval"/>.</summary>
    /// <param name="hasAllArrived">Whether edgeHub's queue is empty.</param>
    public void Looked(bool hasAllArrived)
    {
        lock (_lock)
        {
            var now = time.GetTimestamp();
            if (!hasAllArrived)
            {
                // The module can detect a loss only while the queue is empty.
                _doubtSince = now;
                return;
            }

            var isDoubtful = _doubt is not null && time.GetElapsedTime(_doubtSince, now) < DoubtTime;
            if (isDoubtful || time.GetElapsedTime(_confirmed, now) < LookInterval)
            {
                return;
            }

            (_doubt, _confirmed) = (null, now);
            foreach (var account in _epochs.Values)
            {
                account.Confirm();
            }
        }
    }

    /// <summary>Lets the cause explain duplicates of this batch.</summary>
    public void Explain(string cause, Receipt? receipt)
    {
        if (receipt is not null)
        {
            lock (_lock)
            {
                receipt.Account.MayRepeat(cause, receipt.Ids);
            }
        }
    }

    /// <summary>Stores the last committed id as reported by the module.</summary>
    public void Committed(EpochKey key, long lastCommittedId)
    {
        lock (_lock)
        {
            var account = AccountOf(key);
            account.LastCommittedId = Math.Max(account.LastCommittedId, lastCommittedId);
        }
    }

    /// <summary>Whether every id up to this one, and every id of the module's other epochs, has arrived or was reported
    /// as evicted.</summary>
    public bool IsComplete(EpochKey key, long upTo)
    {
        lock (_lock)
        {
            return _epochs.TryGetValue(key, out var account)
                ? !account.Module.Epochs.Any(epoch => (epoch == account ? epoch.Lost(upTo) : epoch.Lost()).Any())
                : upTo == 0;
        }
    }

    /// <summary>The account so far. Lost ids are those missing up to <see cref="EpochAccount.UpTo"/>.</summary>
    public LedgerSummary Summary()
    {
        lock (_lock)
        {
            var epochs = new List<EpochSummary>();
            var causes = new Dictionary<string, long>(StringComparer.Ordinal);
            foreach (var account in _epochs.Values)
            {
                var lost = account.Lost().ToList();
                epochs.Add(new EpochSummary(
                    account.Key.Device, account.Key.Module, account.Key.Epoch, account.Received, account.Unique, account.Duplicates,
                    lost.Sum(hole => hole.Last - hole.First + 1), account.Evicted(), account.MaxId, account.LastCommittedId,
                    account.SentAgain, account.LostByHub, lost));
                foreach (var (cause, count) in account.Explained)
                {
                    causes[cause] = causes.GetValueOrDefault(cause) + count;
                }
            }

            return new LedgerSummary(
                epochs.AsReadOnly(), new ReadOnlyDictionary<string, long>(causes), _batches, _messages, _bytes, _backlog.Max(), _last);
        }
    }

    /// <summary>Figures for the display, cheaper than <see cref="Summary"/>.</summary>
    public (long Unique, long Received, long Messages, long Bytes, LastBatch? Last) Progress()
    {
        lock (_lock)
        {
            return (_epochs.Values.Sum(e => e.Unique), _epochs.Values.Sum(e => e.Received), _messages, _bytes, _last);
        }
    }

    Receipt? Take(ReadOnlyMemory<byte> body, bool isStored, out string? problem)
    {
        var isBatch = BatchBody.TryParse(body, out var batch, out var reason);
        lock (_lock)
        {
            problem = isBatch ? null : reason;
            if (!isBatch)
            {
                _messages++;
                _bytes += body.Length;
                return null;
            }

            var account = AccountOf(new EpochKey(batch.Device, batch.Module, batch.Epoch));
            var receipt = new Receipt(this, account, batch.Items, body.Length);
            if (account.Take(receipt.Ids, isStored ? _doubt : null))
            {
                _doubt = null;
            }

            _inFlight.AddLast(receipt);
            RemoveOldReceipts();
            return receipt;
        }
    }

    EpochAccount AccountOf(EpochKey key)
    {
        if (!_epochs.TryGetValue(key, out var account))
        {
            if (!_modules.TryGetValue((key.Device, key.Module), out var module))
            {
                module = new ModuleAccount();
                _modules.Add((key.Device, key.Module), module);
            }

            account = module.Add(key);
            _epochs.Add(key, account);
        }

        return account;
    }

    void DoubtAll(string cause)
    {
        foreach (var account in _epochs.Values)
        {
            account.Doubt(cause);
        }
    }

    void RemoveOldReceipts()
    {
        // Batches are acknowledged in order, so the first is the oldest. One whose PUBACK was lost is removed by the
        // limit.
        while (_inFlight.First is { } oldest && (_inFlight.Count > InFlightMax || !IsInFlight(oldest.Value)))
        {
            _inFlight.RemoveFirst();
        }
    }

    bool IsInFlight(Receipt receipt) =>
        receipt.AcknowledgedAt is not { } at || time.GetElapsedTime(at) <= AcknowledgementGrace;
}
