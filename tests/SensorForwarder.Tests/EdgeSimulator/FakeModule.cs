using System.Text;
using EdgeSimulator.Hub;
using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.Tests.Simulator;

/// <summary>A module that has committed some readings and sends the unsent ones when flush is called.</summary>
internal sealed class FakeModule(SimulatedHub hub, long committed, long sent)
{
    readonly IMqttClient _client = hub.NewClient();

    public int Flushes { get; private set; }

    public async Task ConnectAsync()
    {
        _client.ApplicationMessageReceivedAsync += AnswerAsync;
        await _client.ConnectAsync(hub.Options(), TestContext.Current.CancellationToken);
        await _client.SubscribeAsync(MethodEndpoint.Filter, MqttQualityOfServiceLevel.AtLeastOnce, TestContext.Current.CancellationToken);
    }

    public async Task SendAsync(long first, long last) =>
        await _client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(first, last)), TestContext.Current.CancellationToken);

    async Task AnswerAsync(MqttApplicationMessageReceivedEventArgs e)
    {
        var topic = e.ApplicationMessage.Topic;
        var requestId = topic.Split("?$rid=")[1];
        switch (topic.Split('/')[3])
        {
            case "getStatus":
                await RespondAsync(requestId, $"{{\"epoch\":\"e1\",\"lastCommittedId\":{committed},\"queueDepth\":{committed - sent}}}");
                break;
            case "flush":
                Flushes++;
                await RespondAsync(requestId, """{"drained":true,"remaining":0}""");
                if (committed > sent)
                {
                    // Not awaited, since this runs in MQTTnet's receive loop, which must receive the PUBACK.
                    _ = SendAsync(sent + 1, committed);
                }

                break;
            default:
                break;
        }
    }

    Task<MqttClientPublishResult> RespondAsync(string requestId, string payload) => _client.PublishAsync(
        new MqttApplicationMessageBuilder().WithTopic($"$iothub/methods/res/200/?$rid={requestId}")
            .WithPayload(Encoding.UTF8.GetBytes(payload)).Build(), TestContext.Current.CancellationToken);
}
