using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;

namespace EdgeSimulator.Api;

/// <summary>What POST /faults does: sets the faults of <see cref="FaultTable"/>, or does one of the deeds. All of a request, or nothing.</summary>
internal sealed class FaultCommands(FaultSwitches faults, IReadOnlyDictionary<string, Action> deeds, RunLog log)
{
    const string Reset = "reset";

    public void Apply(JsonObject request)
    {
        var changes = new List<Func<FaultSettings, FaultSettings>>();
        var now = new List<Action>();
        foreach (var (name, node) in request)
        {
            var value = JsonSerializer.SerializeToElement(node);
            if (name == Reset || deeds.ContainsKey(name))
            {
                if (value.ValueKind != JsonValueKind.True)
                {
                    throw Problem.BadRequest($"{name}: true is wanted, not {value.GetRawText()}");
                }

                if (name == Reset)
                {
                    changes.Insert(0, _ => new FaultSettings());
                }
                else
                {
                    now.Add(deeds[name]);
                }

                continue;
            }

            var entry = FaultTable.Entries.FirstOrDefault(entry => entry.Name == name)
                ?? throw Problem.BadRequest($"there is no fault '{name}'; GET /faults lists them");
            if (entry.Set(new FaultSettings(), value) is null)
            {
                throw Problem.BadRequest($"{name} {value.GetRawText()}: one of {entry.Allowed} is wanted");
            }

            changes.Add(settings => entry.Set(settings, value)!);
        }

        log.Write($"faults on command: {request.ToJsonString()}");
        faults.Update(settings => changes.Aggregate(settings, (current, change) => change(current)));
        now.ForEach(deed => deed());
    }

    public JsonObject Describe()
    {
        var current = faults.Current;
        var document = new JsonObject();
        foreach (var entry in FaultTable.Entries)
        {
            document[entry.Name] = new JsonObject
            {
                ["value"] = entry.Get(current),
                ["allowed"] = entry.Allowed,
                ["text"] = entry.Text,
            };
        }

        document[Reset] = new JsonObject { ["allowed"] = "true", ["text"] = "all faults off" };
        foreach (var name in deeds.Keys)
        {
            document[name] = new JsonObject { ["allowed"] = "true", ["text"] = $"does it once: {name}" };
        }

        return document;
    }
}
