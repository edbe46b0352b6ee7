// SPDX-License-Identifier: GPL-2.0
/*
 * A GPIO chip with eight lines and interrupts. Controlled by debugfs files under sim_gpio: write "LINE 0" or "LINE 1"
 * to "level"; write "LINE COUNT MICROSECONDS" to "pulse", which returns after the pulses. "level" reads as one digit a
 * line: the level of an output, and '-' for an input. Line 7 is in use by the kernel.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/gpio/consumer.h>
#include <linux/gpio/driver.h>
#include <linux/gpio/machine.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>

#define LINES 8
#define OWN_LINE 7

static const char *const names[LINES] = { "GPIO0", "DOOR", "GPIO2", "METER", "GPIO4", "GPIO5", "GPIO6", "RELAY" };
static unsigned long levels, outputs, unmasked;
static unsigned int types[LINES];
static struct gpio_chip *current_chip;
static struct dentry *directory;
static struct platform_device *device;

static int get_direction(struct gpio_chip *chip, unsigned int line)
{
	return test_bit(line, &outputs) ? GPIO_LINE_DIRECTION_OUT : GPIO_LINE_DIRECTION_IN;
}

static int direction_input(struct gpio_chip *chip, unsigned int line)
{
	clear_bit(line, &outputs);
	return 0;
}

static void set(struct gpio_chip *chip, unsigned int line, int value)
{
	assign_bit(line, &levels, value);
}

static int direction_output(struct gpio_chip *chip, unsigned int line, int value)
{
	set(chip, line, value);
	set_bit(line, &outputs);
	return 0;
}

static int get(struct gpio_chip *chip, unsigned int line)
{
	return test_bit(line, &levels);
}

static void irq_mask(struct irq_data *data)
{
	clear_bit(irqd_to_hwirq(data), &unmasked);
	gpiochip_disable_irq(irq_data_get_irq_chip_data(data), irqd_to_hwirq(data));
}

static void irq_unmask(struct irq_data *data)
{
	gpiochip_enable_irq(irq_data_get_irq_chip_data(data), irqd_to_hwirq(data));
	set_bit(irqd_to_hwirq(data), &unmasked);
}

static void irq_ack(struct irq_data *data)
{
}

static int irq_set_type(struct irq_data *data, unsigned int type)
{
	types[irqd_to_hwirq(data)] = type;
	return 0;
}

static const struct irq_chip irq_chip = {
	.name = "sim_gpio",
	.irq_mask = irq_mask,
	.irq_unmask = irq_unmask,
	.irq_ack = irq_ack,
	.irq_set_type = irq_set_type,
	.flags = IRQCHIP_IMMUTABLE,
	GPIOCHIP_IRQ_RESOURCE_HELPERS,
};

static void set_level(unsigned int line, bool high)
{
	unsigned long flags;

	if (test_bit(line, &levels) == high)
		return;
	assign_bit(line, &levels, high);
	if (!current_chip || !test_bit(line, &unmasked) || !(types[line] & (high ? IRQ_TYPE_EDGE_RISING : IRQ_TYPE_EDGE_FALLING)))
		return;
	local_irq_save(flags);
	generic_handle_domain_irq(current_chip->irq.domain, line);
	local_irq_restore(flags);
	/* Wait until the interrupt is handled; the kernel would merge it with the next one. */
	synchronize_irq(irq_find_mapping(current_chip->irq.domain, line));
}

static ssize_t read_command(const char __user *from, size_t size, char *command, size_t room)
{
	if (size >= room)
		return -EINVAL;
	if (copy_from_user(command, from, size))
		return -EFAULT;
	command[size] = 0;
	return 0;
}

static ssize_t level_write(struct file *file, const char __user *from, size_t size, loff_t *offset)
{
	char command[32];
	unsigned int line, high;
	ssize_t error = read_command(from, size, command, sizeof(command));

	if (error)
		return error;
	if (sscanf(command, "%u %u", &line, &high) != 2 || line >= LINES)
		return -EINVAL;
	set_level(line, high);
	return size;
}

static ssize_t level_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	char text[LINES + 1];
	unsigned int line;

	for (line = 0; line < LINES; line++)
		text[line] = !test_bit(line, &outputs) ? '-' : test_bit(line, &levels) ? '1' : '0';
	text[LINES] = '\n';
	return simple_read_from_buffer(to, size, offset, text, sizeof(text));
}

static ssize_t pulse_write(struct file *file, const char __user *from, size_t size, loff_t *offset)
{
	char command[32];
	unsigned int line, count, microseconds;
	ssize_t error = read_command(from, size, command, sizeof(command));

	if (error)
		return error;
	if (sscanf(command, "%u %u %u", &line, &count, &microseconds) != 3 || line >= LINES)
		return -EINVAL;
	while (count--) {
		set_level(line, true);
		usleep_range(microseconds, microseconds + 50);
		set_level(line, false);
		usleep_range(microseconds, microseconds + 50);
	}
	return size;
}

static const struct file_operations level_fops = { .owner = THIS_MODULE, .write = level_write, .read = level_read };
static const struct file_operations pulse_fops = { .owner = THIS_MODULE, .write = pulse_write };

static int probe(struct platform_device *pdev)
{
	struct gpio_chip *chip = devm_kzalloc(&pdev->dev, sizeof(*chip), GFP_KERNEL);
	struct gpio_desc *own;
	int error;

	if (!chip)
		return -ENOMEM;
	chip->label = "sim_gpio";
	chip->parent = &pdev->dev;
	chip->owner = THIS_MODULE;
	chip->base = -1;
	chip->ngpio = LINES;
	chip->names = names;
	chip->get_direction = get_direction;
	chip->direction_input = direction_input;
	chip->direction_output = direction_output;
	chip->get = get;
	chip->set = set;
	gpio_irq_chip_set_chip(&chip->irq, &irq_chip);
	chip->irq.default_type = IRQ_TYPE_NONE;
	chip->irq.handler = handle_edge_irq;
	error = gpiochip_add_data(chip, NULL);
	if (error)
		return error;
	own = gpiochip_request_own_desc(chip, OWN_LINE, "boiler relay", GPIO_ACTIVE_HIGH, GPIOD_IN);
	if (IS_ERR(own)) {
		gpiochip_remove(chip);
		return PTR_ERR(own);
	}
	current_chip = chip;
	platform_set_drvdata(pdev, own);
	return 0;
}

static int remove(struct platform_device *pdev)
{
	struct gpio_chip *chip = current_chip;

	current_chip = NULL;
	gpiochip_free_own_desc(platform_get_drvdata(pdev));
	gpiochip_remove(chip);
	return 0;
}

static struct platform_driver driver = { .probe = probe, .remove = remove, .driver = { .name = "sim_gpio" } };

static int __init start(void)
{
	int error = platform_driver_register(&driver);

	if (error)
		return error;
	device = platform_device_register_simple("sim_gpio", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(device)) {
		platform_driver_unregister(&driver);
		return PTR_ERR(device);
	}
	directory = debugfs_create_dir("sim_gpio", NULL);
	debugfs_create_file("level", 0600, directory, NULL, &level_fops);
	debugfs_create_file("pulse", 0200, directory, NULL, &pulse_fops);
	return 0;
}

static void __exit stop(void)
{
	debugfs_remove_recursive(directory);
	platform_device_unregister(device);
	platform_driver_unregister(&driver);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Simulated GPIO chip, for tests");
